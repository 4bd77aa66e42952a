#include "os/schedule.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <tuple>

namespace ferry::os {
namespace {

constexpr int kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS, linux/ioprio.h

}  // namespace

Result<> sched_setscheduler(Tid tid, int policy, int priority) {
    const sched_param parameter = {.sched_priority = priority};
    if (::sched_setscheduler(tid.value, policy, &parameter) == 0) return {};
    const int code = errno;
    return fail(
        Error::system(code, fmt::format("sched_setscheduler({}, {}, {})", tid, policy, priority)));
}

Result<int> sched_getscheduler(Tid tid) {
    const int policy = ::sched_getscheduler(tid.value);
    if (policy >= 0) return policy;
    const int code = errno;
    return fail(Error::system(code, fmt::format("sched_getscheduler({})", tid)));
}

Result<int> io_priority_of(Tid tid) {
    const long priority = ::syscall(SYS_ioprio_get, kIoPriorityOfProcess, tid.value);
    if (priority >= 0) return static_cast<int>(priority);
    const int code = errno;
    return fail(Error::system(code, fmt::format("ioprio_get({})", tid)));
}

Result<> set_io_priority(Tid tid, int priority) {
    if (::syscall(SYS_ioprio_set, kIoPriorityOfProcess, tid.value, priority) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("ioprio_set({}, {})", tid, priority)));
}

Result<int> nice_of(Tid tid) {
    errno = 0;
    const int nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(tid.value));
    const int code = errno;
    if (nice == -1 && code != 0) {
        return fail(Error::system(code, fmt::format("getpriority({})", tid)));
    }
    return nice;
}

Result<> set_nice(Tid tid, int nice) {
    if (::setpriority(PRIO_PROCESS, static_cast<id_t>(tid.value), nice) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("setpriority({}, {})", tid, nice)));
}

Result<> sched_setaffinity(Tid tid, std::span<const std::uint8_t> mask) {
    // The system call takes any length; libc's type has a fixed one.
    if (::syscall(SYS_sched_setaffinity, tid.value, mask.size(), mask.data()) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("sched_setaffinity({})", tid)));
}

bool make_urgent(Tid tid) {
    static constexpr int kLowestRealTime = 1, kBestNice = -20;
    return sched_setscheduler(tid, SCHED_FIFO, kLowestRealTime).has_value() ||
           set_nice(tid, kBestNice).has_value();
}

Urgency::Urgency() : tid_{::gettid()}, policy_(::sched_getscheduler(0)) {
    const auto nice = nice_of(tid_);
    if (!nice || (policy_ != SCHED_OTHER && policy_ != SCHED_BATCH)) return;
    nice_ = *nice;
    raised_ = make_urgent(tid_);
}

Urgency::~Urgency() {
    if (!raised_) return;
    std::ignore = sched_setscheduler(tid_, policy_, 0);
    std::ignore = set_nice(tid_, nice_);
}

Modesty::Modesty() : tid_{::gettid()} {
    constexpr int kBack = 5, kHighestNice = 19;
    const auto nice = nice_of(tid_);
    if (nice && set_nice(tid_, std::min(*nice + kBack, kHighestNice))) nice_ = *nice;
}

Modesty::~Modesty() {
    if (nice_) std::ignore = set_nice(tid_, *nice_);
}

}  // namespace ferry::os
