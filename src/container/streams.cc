#include "container/streams.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "os/paths.h"

namespace ferry::container {
namespace {

constexpr const char* kNull = "/dev/null";
constexpr std::string_view kPipe = "pipe:[";
constexpr std::string_view kDeleted = " (deleted)";

// The path here of what an original led to.
std::string path_for(std::size_t number, const std::string& original, const std::string& output) {
    if (number != 0 && original.starts_with(kPipe)) return output;
    const bool is_file = original.starts_with('/') && !original.starts_with("/dev/") &&
                         !original.ends_with(kDeleted);
    return is_file ? original : kNull;
}

Result<> make_parent(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path();
    const auto made = os::mkdirat(os::kCwd, parent, 0755);
    if (made || made.error().code() == EEXIST) return {};
    return fail(made.error());
}

}  // namespace

Streams::~Streams() {
    for (const std::string& path : made_) {
        const auto status = os::fstatat(os::kCwd, path);
        if (status && status->st_size == 0) static_cast<void>(os::unlinkat(os::kCwd, path));
    }
}

Result<> Streams::open_one(std::size_t number, const std::string& original,
                           const std::string& output) {
    const std::string path = path_for(number, original, output);
    int flags = number == 0 ? O_RDONLY : O_WRONLY;
    if (path == output) {
        TRY(make_parent(path));
        flags |= O_APPEND;
    }
    links_.at(number) = path;
    const bool may_be_made = number != 0 && path != kNull;
    if (may_be_made && !os::fstatat(os::kCwd, path)) {
        fds_.at(number) = TRY(os::open(path, flags | O_CREAT | O_EXCL, 0640));
        made_.push_back(path);
        return {};
    }
    fds_.at(number) = TRY(os::open(path, flags | O_NOCTTY));
    return {};
}

Result<Streams> Streams::open(const StreamLinks& originals, const std::string& output) {
    constexpr std::array kNames = {"input", "output", "error output"};
    Streams streams;
    for (std::size_t number = 0; number < originals.size(); ++number) {
        const auto opened = streams.open_one(number, originals.at(number), output);
        if (opened) continue;
        return fail(Error::invalid(fmt::format("its standard {} has no place here: {}",
                                               kNames.at(number), opened.error().message())));
    }
    return streams;
}

Result<Streams> Streams::terminal(const std::string& output) {
    Streams streams;
    if (!output.empty()) TRY(streams.open_one(1, std::string(kPipe), output));
    streams.links_ = {};
    return streams;
}

Result<Streams> Streams::given(std::vector<os::UniqueFd> fds) {
    Streams streams;
    for (std::size_t number = 0; number < streams.fds_.size(); ++number) {
        streams.links_.at(number) =
            TRY(os::readlinkat(os::kCwd, fmt::format("/proc/self/fd/{}", fds.at(number).get())));
        streams.fds_.at(number) = std::move(fds.at(number));
    }
    return streams;
}

void Streams::give_to(std::uint32_t user) const {
    for (std::size_t number = 0; number < fds_.size(); ++number) {
        const bool is_made = std::ranges::find(made_, links_.at(number)) != made_.end();
        if (!is_made && !links_.at(number).starts_with(kPipe)) continue;
        constexpr auto kSame = static_cast<gid_t>(-1);
        const auto given = os::fchown(fds_.at(number).get(), user, kSame);
        // A server of files may know better who its root is.
        if (!given) log_warn("{}: {}, ignoring", links_.at(number), given.error().message());
    }
}

int Streams::fd(int number) const {
    return fds_.at(static_cast<std::size_t>(number)).get();
}

}  // namespace ferry::container
