#include "lab/remote_sampler.h"

#include <array>

#include "lab/sample_lines.h"

namespace ferry::lab {
namespace {

constexpr std::chrono::seconds kEndTimeout{5};
// A line has a hundred bytes or so; whoever sends one this long is no sampler of ours.
constexpr std::size_t kLineBytesMax = 64 * 1024;

}  // namespace

Result<std::unique_ptr<RemoteSampler>> RemoteSampler::start(const Host& host,
                                                            std::vector<std::string> command,
                                                            int platform, const RunClock& clock) {
    std::unique_ptr<RemoteSampler> sampler(new RemoteSampler(platform, clock));
    auto [in_read, in_write] = TRY(os::pipe2(0));
    auto [out_read, out_write] = TRY(os::pipe2(0));
    os::Launch launch = host.launch(std::move(command));
    launch.stdin_fd = in_read.get();
    launch.stdout_fd = out_write.get();
    sampler->child_ = TRY(os::ChildProcess::start(launch));
    sampler->input_ = std::move(in_write);
    sampler->output_ = std::move(out_read);
    sampler->thread_ = std::thread([self = sampler.get()] { self->run(); });
    return sampler;
}

RemoteSampler::~RemoteSampler() {
    end();
}

void RemoteSampler::run() {
    std::string text;
    std::array<std::byte, 16384> buffer;
    for (;;) {
        const auto got = os::read(output_.get(), buffer);
        if (!got || *got == 0 || text.size() > kLineBytesMax) return;
        text.append(reinterpret_cast<const char*>(buffer.data()), *got);
        std::size_t begin = 0;
        for (std::size_t line; (line = text.find('\n', begin)) != std::string::npos;
             begin = line + 1) {
            take(text.substr(begin, line - begin));
        }
        text.erase(0, begin);
    }
}

void RemoteSampler::take(const std::string& text) {
    const auto line = sample_line_from(text);
    if (!line) return;
    const std::lock_guard lock(mutex_);
    Series& series = series_[{line->quantity, line->subject}];
    series.quantity = line->quantity;
    series.platform = platform_;
    series.subject = line->subject;
    series.add(clock_.now_ns(), line->value);
}

std::optional<double> RemoteSampler::latest(Quantity quantity, const std::string& subject,
                                            std::chrono::milliseconds age) const {
    const std::lock_guard lock(mutex_);
    const auto found = series_.find({quantity, subject});
    if (found == series_.end()) return std::nullopt;
    const Series& series = found->second;
    const auto limit = std::chrono::duration_cast<std::chrono::nanoseconds>(age).count();
    if (clock_.now_ns() - series.at_ns.back() > limit) return std::nullopt;
    return series.values.back();
}

void RemoteSampler::end() {
    if (!thread_.joinable()) return;
    input_.reset();
    static_cast<void>(child_.wait(kEndTimeout));
    child_ = {};
    thread_.join();
}

std::vector<Series> RemoteSampler::stop() {
    end();
    std::vector<Series> all;
    for (auto& [key, series] : series_) all.push_back(std::move(series));
    series_.clear();
    return all;
}

}  // namespace ferry::lab
