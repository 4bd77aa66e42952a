#include "restore/clocks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <thread>

#include "os/fd.h"
#include "resources/clocks.h"

namespace ferry::restore {
namespace {

using std::chrono::nanoseconds;

// Hosts that keep time by NTP differ by 500 ppm at most while they correct it.
constexpr std::chrono::seconds kBehindMax{1};

std::int64_t difference(std::uint64_t a, std::uint64_t b) {
    return static_cast<std::int64_t>(a - b);
}

bool is_in_order(const model::ClockTimes& a, const model::ClockTimes& b) {
    return a.monotonic_ns <= b.monotonic_ns && a.boottime_ns <= b.boottime_ns;
}

// Virtual machines that were made from one snapshot have one boot id, but no common clocks.
Result<bool> is_same_boot(const model::Checkpoint& tree,
                          const std::optional<model::ClockTimes>& before,
                          const model::ClockTimes& now, const model::ClockOffsets& ours) {
    if (tree.boot_id.empty()) return false;
    const std::string here = TRY(os::read_file("/proc/sys/kernel/random/boot_id"));
    if (here.substr(0, here.find('\n')) != tree.boot_id) return false;
    const model::Clocks& clocks = tree.clocks;
    const auto to_theirs = [&](const model::ClockTimes& times) {
        return resources::seen_through(times, ours, clocks.offsets);
    };
    return is_in_order(clocks.seen, to_theirs(now)) &&
           (!before || is_in_order(to_theirs(*before), clocks.seen));
}

Result<> unshare_time(StubProcess& root) {
    Program program;
    program.call("unshare", SYS_unshare, {CLONE_NEWTIME});
    auto made = root.leader().run(program);
    if (made) return {};
    const int code = made.error().code();
    if (code != EPERM && code != EINVAL && code != ENOSPC) return made;
    return fail(Error::unsupported(
        "its clocks would need a time namespace, which " +
        std::string(code == EPERM    ? "Ferry may not make (CAP_SYS_ADMIN)"
                    : code == EINVAL ? "this kernel does not have (CONFIG_TIME_NS, Linux 5.6)"
                                     : "user.max_time_namespaces does not allow")));
}

}  // namespace

Result<std::optional<model::ClockOffsets>> offsets_for(
    const model::Checkpoint& tree, const std::optional<model::ClockTimes>& before) {
    const model::Clocks& clocks = tree.clocks;
    if (clocks.seen == model::ClockTimes()) return std::nullopt;
    const model::ClockOffsets ours = TRY(resources::clock_offsets_of(Pid{::getpid()}));
    const model::ClockTimes now = TRY(resources::clocks_now());
    model::ClockOffsets wanted = clocks.offsets;
    if (!TRY(is_same_boot(tree, before, now, ours))) {
        const model::ClockTimes& then = before ? *before : now;
        wanted = {.monotonic_ns =
                      ours.monotonic_ns + difference(clocks.seen.monotonic_ns, then.monotonic_ns),
                  .boottime_ns =
                      ours.boottime_ns + difference(clocks.seen.boottime_ns, then.boottime_ns)};
    }
    if (wanted == ours) return std::nullopt;
    return wanted;
}

Result<> enter_time_namespace(StubProcess& root, const model::ClockOffsets& offsets) {
    TRY(unshare_time(root));
    const auto file = TRY(os::open(fmt::format("/proc/{}/timens_offsets", root.here), O_WRONLY));
    TRY(os::write(file.get(), os::as_bytes(resources::clock_offsets_text(offsets))));
    const auto space =
        TRY(os::open(fmt::format("/proc/{}/ns/time_for_children", root.here), O_RDONLY));
    Program program;
    const Receiver received(program, root.leader().socket_number(), 1);
    program.call("setns", SYS_setns, {received.fd(0), CLONE_NEWTIME});
    program.call("close", SYS_close, {received.fd(0)});
    return root.leader().run(program, std::array{space.get()});
}

Result<> await_clocks(const model::Checkpoint& frozen, const model::ClockOffsets& offsets) {
    const model::ClockOffsets ours = TRY(resources::clock_offsets_of(Pid{::getpid()}));
    const model::ClockTimes now =
        resources::seen_through(TRY(resources::clocks_now()), ours, offsets);
    const model::ClockTimes& seen = frozen.clocks.seen;
    const nanoseconds behind{std::max(difference(seen.monotonic_ns, now.monotonic_ns),
                                      difference(seen.boottime_ns, now.boottime_ns))};
    if (behind <= nanoseconds::zero()) return {};
    if (behind > kBehindMax) {
        return fail(Error::limit(
            fmt::format("this host's clocks have fallen behind the source's by {:.1f} s: try again",
                        std::chrono::duration<double>(behind).count())));
    }
    std::this_thread::sleep_for(behind);
    return {};
}

}  // namespace ferry::restore
