#include "agent/left_tree.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>
#include <vector>

#include "agent/process_table.h"
#include "base/log.h"
#include "os/fd.h"
#include "os/process.h"
#include "os/socket.h"

namespace ferry::agent {
namespace {

// How long tasks that the kernel has killed may still be seen, on a busy host.
constexpr std::chrono::milliseconds kDying{2000}, kDyingStep{10};

std::vector<KnownProcess> all_of(const SessionInfo& info) {
    auto all = info.processes;
    const auto tree = tree_of(info.root);
    if (!tree) log_error("looking for the tree of {}: {}", info.service, tree.error().message());
    if (!tree) return all;
    std::ranges::copy_if(*tree, std::back_inserter(all), [&](const KnownProcess& process) {
        return std::ranges::find(info.processes, process) == info.processes.end();
    });
    return all;
}

bool lives(const KnownProcess& process) {
    return start_of(process.pid) == process.started;
}

// Held from a look at its start on, so that it is no other's pid.
Result<os::PidFd> open(const KnownProcess& process) {
    os::PidFd opened = TRY(os::PidFd::open(process.pid));
    if (lives(process)) return opened;
    return fail(Error::gone(fmt::format("process {} has ended", process.pid)));
}

int signal_to(const std::vector<KnownProcess>& processes, int number) {
    int reached = 0;
    for (const KnownProcess& process : processes) {
        const auto opened = open(process);
        if (opened && opened->send_signal(number)) ++reached;
    }
    return reached;
}

void end_repair(int socket) {
    const auto in_repair = os::getsockopt<int>(socket, IPPROTO_TCP, TCP_REPAIR);
    if (!in_repair || *in_repair == 0) return;
    // With a window probe: the peer may have waited. What SO_REUSEADDR was before nobody knows any
    // more; a server's connections have it, and without it the server could not start again while
    // they end.
    std::ignore = os::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, 0);
    std::ignore = os::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, 1);
}

void enter_repair(int socket) {
    std::ignore = os::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, 1);
}

template <class Action>
void for_each_socket(const KnownProcess& process, Action action) {
    const auto opened = open(process);
    if (!opened) return;
    const std::string directory = fmt::format("/proc/{}/fd", process.pid);
    const auto names = os::list_directory(os::kCwd, directory);
    if (!names) return;
    for (const std::string& name : *names) {
        const auto link = os::readlinkat(os::kCwd, fmt::format("{}/{}", directory, name));
        if (!link || !link->starts_with("socket:")) continue;
        int number = -1;
        std::from_chars(name.data(), name.data() + name.size(), number);
        if (const auto socket = opened->getfd(number)) action(socket->get());
    }
}

}  // namespace

void let_go(const SessionInfo& source) {
    for (const KnownProcess& process : all_of(source)) for_each_socket(process, end_repair);
    const int continued = signal_to(source.processes, SIGCONT);
    if (continued > 0) log_info("continued {} processes of {}", continued, source.service);
}

void end_left(const SessionInfo& source) {
    const std::vector<KnownProcess> left = all_of(source);
    for (const KnownProcess& process : left) for_each_socket(process, enter_repair);
    const int ended = signal_to(left, SIGKILL);
    if (ended > 0) log_info("ended {} processes of {}", ended, source.service);
}

bool end_remains(const SessionInfo& destination) {
    signal_to(destination.processes, SIGKILL);
    const auto give_up = std::chrono::steady_clock::now() + kDying;
    while (std::ranges::any_of(destination.processes, lives)) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::sleep_for(kDyingStep);
    }
    return true;
}

}  // namespace ferry::agent
