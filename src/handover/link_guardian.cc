#include "handover/link_guardian.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"
#include "os/process.h"
#include "os/socket.h"

namespace ferry::handover {
namespace {

constexpr std::byte kArm{'A'};
constexpr std::byte kDisarm{'D'};

// The guardian's descriptors.
constexpr int kCommands = 0;
constexpr int kOwner = 1;  // pidfd
constexpr int kFirstOrder = 2;

// What the child needs, prepared before the fork (I7).
struct Job {
    struct Order {
        int socket = -1;
        const std::byte* data = nullptr;
        std::size_t size = 0;
    };
    int commands = -1;
    int owner = -1;
    std::array<Order, LinkGuardian::kOrdersMax> orders;
    std::size_t order_count = 0;
};

// Keeps descriptor `from` as `to`. Descriptors are moved to the front so that close_range(2) can
// drop all others: an inherited socket or pipe must not live longer because of the guardian.
void keep_as(int from, int to) noexcept {
    if (::dup2(from, to) < 0) ::_exit(1);
}

// The last command that is waiting; `armed` where there is none.
bool read_commands(bool armed) noexcept {
    std::byte command{};
    while (::recv(kCommands, &command, 1, MSG_DONTWAIT) == 1) armed = command == kArm;
    return armed;
}

[[noreturn]] void guard(const Job& job) noexcept {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    ::setsid();
    ::prctl(PR_SET_NAME, "ferry-guardian");
    // All sources are above these numbers (see start), so none is overwritten before it is copied.
    keep_as(job.commands, kCommands);
    keep_as(job.owner, kOwner);
    for (std::size_t i = 0; i < job.order_count; ++i) {
        keep_as(job.orders[i].socket, kFirstOrder + static_cast<int>(i));
    }
    ::close_range(static_cast<unsigned>(kFirstOrder + job.order_count), ~0U, 0);
    // The owner's end is its pidfd's and not the end of the stream: other children of the owner may
    // hold copies of its end for a while. Commands wait in the socket until then.
    pollfd owner = {.fd = kOwner, .events = POLLIN, .revents = 0};
    while (::poll(&owner, 1, -1) < 0 && errno == EINTR) continue;
    const bool armed = read_commands(false);
    for (std::size_t i = 0; armed && i < job.order_count; ++i) {
        const auto& order = job.orders[i];
        static_cast<void>(
            ::send(kFirstOrder + static_cast<int>(i), order.data, order.size, MSG_NOSIGNAL));
    }
    ::_exit(0);
}

// A copy above the standard descriptors.
Result<os::UniqueFd> high_copy(int fd) {
    constexpr int kAboveGuards = 16;
    return os::UniqueFd(TRY(os::fcntl(fd, F_DUPFD_CLOEXEC, kAboveGuards)));
}

}  // namespace

Result<LinkGuardian> LinkGuardian::start(std::span<const GuardianOrder> orders) {
    CHECK(orders.size() <= kOrdersMax);
    auto [our_end, guardian_end] = TRY(os::socketpair(AF_UNIX, SOCK_SEQPACKET));
    const auto commands = TRY(high_copy(guardian_end.get()));
    const auto owner = TRY(os::PidFd::open(Pid{::getpid()}));
    const auto high_owner = TRY(high_copy(owner.get()));
    Job job = {.commands = commands.get(),
               .owner = high_owner.get(),
               .orders = {},
               .order_count = orders.size()};
    std::vector<os::UniqueFd> sockets;
    for (std::size_t i = 0; i < orders.size(); ++i) {
        sockets.push_back(TRY(high_copy(orders[i].socket)));
        job.orders[i] = {.socket = sockets.back().get(),
                         .data = orders[i].messages.bytes().data(),
                         .size = orders[i].messages.bytes().size()};
    }
    auto child = TRY(os::ChildProcess::fork([&job] { guard(job); }));
    return LinkGuardian(std::move(our_end), std::move(child));
}

Result<> LinkGuardian::arm() {
    return os::send_with_fds(commands_.get(), std::span(&kArm, 1), {});
}
Result<> LinkGuardian::disarm() {
    return os::send_with_fds(commands_.get(), std::span(&kDisarm, 1), {});
}

}  // namespace ferry::handover
