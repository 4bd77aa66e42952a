#include "container/console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "container/podman_socket.h"
#include "os/endpoint.h"
#include "os/inet.h"
#include "os/launch.h"
#include "os/socket.h"

namespace ferry::container {
namespace {

constexpr std::chrono::seconds kTimeout{20};

// The shell ends at once, and its child is whoever's who reaps orphans. 4 is a process's directory
// of /proc, in which nothing is any more when it has ended. A terminal that nobody has open at the
// moment ends reading, as a full disk does.
constexpr const char* kHolder =
    "while [ -e /proc/self/fd/4/stat ]; do cat <&3 || cat <&3 >/dev/null; sleep 1; done "
    "2>/dev/null &";

}  // namespace

Result<std::optional<std::uint32_t>> index_of_terminal(const Config& config,
                                                       const std::vector<proc::Mount>& mounts) {
    if (!config.terminal) return std::nullopt;
    const auto console = std::ranges::find(mounts, "/dev/console", &proc::Mount::point);
    if (console != mounts.end() && console->type == "devpts" && console->root.starts_with('/')) {
        const char* end = console->root.data() + console->root.size();
        std::uint32_t index = 0;
        if (std::from_chars(console->root.data() + 1, end, index).ptr == end) return index;
    }
    return fail(Error::unsupported("its terminal is not on its /dev/console any more"));
}

Result<> check_console_socket(const std::string& path) {
    const auto status = os::fstatat(os::kCwd, path);
    if (!status) {
        return fail(Error::invalid(fmt::format("the console socket {} does not exist here", path)));
    }
    if (S_ISSOCK(status->st_mode)) return {};
    return fail(Error::invalid(fmt::format("the console socket {} is no socket", path)));
}

Result<ConsoleSocket> ConsoleSocket::listen(const std::string& path) {
    return ConsoleSocket(TRY(listen_at(path, SOCK_STREAM)));
}

Result<os::UniqueFd> ConsoleSocket::take_master() {
    TRY(await_readable(listener_.get(), kTimeout));
    const os::UniqueFd connection = TRY(os::accept4(listener_.get(), SOCK_CLOEXEC));
    TRY(await_readable(connection.get(), kTimeout));
    SocketMessage message = TRY(receive_message(connection.get()));
    if (message.fds.size() == 1) return std::move(message.fds.front());
    return fail(Error::peer("the runtime has sent no terminal"));
}

Result<> hold_master(const os::UniqueFd& master, Pid first, const os::UniqueFd& output) {
    const os::UniqueFd process =
        TRY(os::open(fmt::format("/proc/{}", first), O_PATH | O_DIRECTORY));
    os::ChildProcess shell = TRY(os::ChildProcess::start({.arguments = {"sh", "-c", kHolder},
                                                          .stdout_fd = output.get(),
                                                          .passed = {master.get(), process.get()},
                                                          .dies_with_parent = false}));
    if (TRY(shell.wait(kTimeout)) == 0) return {};
    return fail(Error::peer("nobody can be started to hold the container's terminal"));
}

}  // namespace ferry::container
