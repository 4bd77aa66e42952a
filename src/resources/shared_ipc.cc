#include "resources/shared_ipc.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string>
#include <utility>

#include "os/fd.h"
#include "os/system_v.h"
#include "os/task.h"
#include "proc/process_directory.h"
#include "proc/system_v.h"

namespace ferry::resources {
namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

// When each process began, in seconds since 1970. An object remembers a pid for longer than the
// process lives that had it.
using Beginnings = std::map<Pid, std::int64_t>;

Result<Beginnings> beginnings_of(std::span<const Pid> pids) {
    const auto now = static_cast<std::int64_t>(TRY(os::clock_nanoseconds(CLOCK_REALTIME)));
    const auto up = static_cast<std::int64_t>(TRY(os::clock_nanoseconds(CLOCK_BOOTTIME)));
    const std::int64_t nanos_per_tick = kNanosPerSecond / ::sysconf(_SC_CLK_TCK);
    Beginnings beginnings;
    for (const Pid pid : pids) {
        const auto directory = proc::ProcessDirectory::open(pid);
        const auto stat = directory ? directory->stat() : fail(directory.error());
        if (!stat) continue;  // has ended
        const auto start = static_cast<std::int64_t>(stat->start_time) * nanos_per_tick;
        beginnings[pid] = (now - up + start) / kNanosPerSecond;
    }
    return beginnings;
}

bool is_use_of(const Beginnings& beginnings, const proc::SystemVUse& use) {
    constexpr std::int64_t kRounding = 1;
    const auto process = beginnings.find(use.pid);
    return process != beginnings.end() && use.time + kRounding >= process->second;
}

std::unexpected<Error> used(const char* what, std::int32_t id, Pid pid) {
    return fail(Error::unsupported(
        fmt::format("{} {} of the host, which process {} uses, is not carried: run it in a "
                    "container with an IPC namespace of its own",
                    what, id, pid)));
}

Result<bool> check_queues(const Beginnings& beginnings) {
    const auto queues = TRY(proc::parse_system_v_queues(TRY(os::read_file("/proc/sysvipc/msg"))));
    for (const proc::SystemVQueue& queue : queues) {
        for (const proc::SystemVUse& use : {queue.sent, queue.received}) {
            if (is_use_of(beginnings, use)) {
                return used("System V message queue", queue.object.id, use.pid);
            }
        }
    }
    return !queues.empty();
}

Result<bool> check_semaphores(const Beginnings& beginnings) {
    const auto sets = TRY(proc::parse_system_v_semaphores(TRY(os::read_file("/proc/sysvipc/sem"))));
    for (const proc::SystemVSemaphores& set : sets) {
        for (std::size_t number = 0; number < set.count; ++number) {
            const auto pid = os::last_semaphore_user(set.object.id, number);
            if (!pid) break;  // removed meanwhile
            // SETVAL and SETALL leave no time.
            const std::int64_t time = set.last != 0 ? set.last : INT64_MAX / 2;
            if (is_use_of(beginnings, {.pid = *pid, .time = time})) {
                return used("System V semaphore set", set.object.id, *pid);
            }
        }
    }
    return !sets.empty();
}

Result<> check_segments(const Beginnings& beginnings) {
    for (const proc::SystemVSegment& segment :
         TRY(proc::parse_system_v_segments(TRY(os::read_file("/proc/sysvipc/shm"))))) {
        if (segment.attached != 0) continue;
        for (const proc::SystemVUse& use : {segment.created, segment.last}) {
            if (is_use_of(beginnings, use)) {
                return used("System V shared memory", segment.object.id, use.pid);
            }
        }
    }
    return {};
}

// "65 0x2 0x7ffe...": the call that a thread stands in, and its arguments (proc_pid_syscall(5)).
Result<> check_call(Pid pid, const std::string& text) {
    struct Call {
        long number;
        const char* what;
    };
    constexpr std::array kCalls = {
        Call{SYS_semop, "System V semaphore set"}, Call{SYS_semtimedop, "System V semaphore set"},
        Call{SYS_msgsnd, "System V message queue"}, Call{SYS_msgrcv, "System V message queue"}};
    constexpr int kHexadecimal = 16;
    long number = -1;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc()) return {};  // "running"
    const auto call = std::ranges::find(kCalls, number, &Call::number);
    if (call == kCalls.end()) return {};
    constexpr std::size_t kBlankAndPrefix = 3;  // " 0x"
    std::uint32_t id = 0;
    const char* argument = std::min(rest + kBlankAndPrefix, end);
    std::from_chars(argument, end, id, kHexadecimal);
    return used(call->what, static_cast<std::int32_t>(id), pid);
}

Result<> check_waiting(std::span<const Pid> pids) {
    for (const Pid pid : pids) {
        const auto directory = proc::ProcessDirectory::open(pid);
        const auto threads = directory ? directory->threads() : fail(directory.error());
        if (!threads) continue;  // has ended
        for (const Tid tid : *threads) {
            const auto text = directory->text(fmt::format("task/{}/syscall", tid));
            if (text) TRY(check_call(pid, *text));
        }
    }
    return {};
}

}  // namespace

Result<> check_shared_ipc(std::span<const Pid> pids) {
    const Beginnings beginnings = TRY(beginnings_of(pids));
    const bool has_queues = TRY(check_queues(beginnings));
    const bool has_semaphores = TRY(check_semaphores(beginnings));
    TRY(check_segments(beginnings));
    if (!has_queues && !has_semaphores) return {};
    return check_waiting(pids);
}

}  // namespace ferry::resources
