#include "lab/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <span>

namespace ferry::lab {
namespace {

using Clock = std::chrono::steady_clock;

// Programs we run print at most a report; what runs away is cut off.
constexpr std::size_t kOutputBytesMax = 16u << 20;

// False at the end of file.
Result<bool> drain(int fd, std::string& into) {
    std::array<std::byte, 16384> buffer;
    const std::size_t got = TRY(os::read(fd, buffer));
    if (into.size() < kOutputBytesMax) into.append(reinterpret_cast<char*>(buffer.data()), got);
    return got > 0;
}

}  // namespace

Result<CommandResult> run(os::Launch launch, std::chrono::milliseconds timeout,
                          const std::string& input, const OnLine& on_line) {
    const os::UniqueFd stdin_file = TRY(os::memfd_create("stdin", 0));
    if (!input.empty()) TRY(os::pwrite_all(stdin_file.get(), os::as_bytes(input), 0));
    auto [out_read, out_write] = TRY(os::pipe2(0));
    auto [err_read, err_write] = TRY(os::pipe2(0));
    launch.stdin_fd = stdin_file.get();
    launch.stdout_fd = out_write.get();
    launch.stderr_fd = err_write.get();
    const std::string name = launch.arguments.empty() ? "" : launch.arguments[0];
    const auto end = Clock::now() + timeout;
    os::ChildProcess child = TRY(os::ChildProcess::start(launch));
    out_write.reset();
    err_write.reset();

    CommandResult result;
    std::size_t told = 0;  // bytes of result.out that on_line has got
    // A daemon that the program leaves behind may keep the pipes open, so its end counts, not
    // theirs.
    std::array<pollfd, 3> polls = {pollfd{out_read.get(), POLLIN, 0},
                                   pollfd{err_read.get(), POLLIN, 0},
                                   pollfd{child.pidfd(), POLLIN, 0}};
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        if (left.count() <= 0) {
            return fail(Error::limit(fmt::format("{} did not finish in {} ms; it said: {}{}", name,
                                                 timeout.count(), result.out, result.err)));
        }
        static_cast<void>(::poll(polls.data(), polls.size(), static_cast<int>(left.count())));
        if (polls[0].revents != 0 && !TRY(drain(out_read.get(), result.out))) polls[0].fd = -1;
        if (polls[1].revents != 0 && !TRY(drain(err_read.get(), result.err))) polls[1].fd = -1;
        for (std::size_t line_end;
             on_line && (line_end = result.out.find('\n', told)) != std::string::npos;
             told = line_end + 1) {
            on_line(result.out.substr(told, line_end - told));
        }
        const bool quiet = polls[0].revents == 0 && polls[1].revents == 0;
        if (polls[2].revents != 0 && quiet) break;
    }
    result.status = TRY(child.wait(std::chrono::seconds(5))).value_or(128);
    return result;
}

Result<std::string> run_checked(os::Launch launch, std::chrono::milliseconds timeout,
                                const std::string& input) {
    const std::string line = fmt::format("{}", fmt::join(launch.arguments, " "));
    CommandResult result = TRY(run(std::move(launch), timeout, input));
    if (result.status == 0) return std::move(result.out);
    return fail(Error::peer(fmt::format("`{}` ended with {}: {}{}", line, result.status, result.err,
                                        result.err.empty() ? result.out : "")));
}

}  // namespace ferry::lab
