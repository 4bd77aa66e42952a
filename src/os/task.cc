#include "os/task.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {
namespace {

// Enough for 8,192 CPUs, the kernel's own maximum (CONFIG_NR_CPUS).
constexpr std::size_t kCpuMaskBytes = 1024;

Error task_error(int code, const char* call, Tid tid) {
    if (code == ESRCH) return Error::gone(fmt::format("thread {} is gone ({})", tid, call));
    return Error::system(code, fmt::format("{}({})", call, tid));
}

}  // namespace

Result<std::vector<std::uint8_t>> sched_getaffinity(Tid tid) {
    std::vector<std::uint8_t> mask(kCpuMaskBytes);
    const long n = ::syscall(SYS_sched_getaffinity, tid.value, mask.size(), mask.data());
    if (n < 0) {
        const int code = errno;
        return fail(task_error(code, "sched_getaffinity", tid));
    }
    mask.resize(static_cast<std::size_t>(n));
    return mask;
}

int online_cpus() {
    return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

Result<RobustList> get_robust_list(Tid tid) {
    RobustList list;
    if (::syscall(SYS_get_robust_list, tid.value, &list.address, &list.size) != 0) {
        const int code = errno;
        return fail(task_error(code, "get_robust_list", tid));
    }
    return list;
}

itimerspec timer_setting(std::uint64_t value_ns, std::uint64_t interval_ns) {
    const auto time_of = [](std::uint64_t ns) {
        return timespec{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                        .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
    };
    return {.it_interval = time_of(interval_ns), .it_value = time_of(value_ns)};
}

Result<std::uint64_t> clock_nanoseconds(int clock) {
    timespec now = {};
    if (::clock_gettime(clock, &now) != 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("clock_gettime({})", clock)));
    }
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace ferry::os
