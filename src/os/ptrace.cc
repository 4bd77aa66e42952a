#include "os/ptrace.h"

#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cerrno>

#include "base/check.h"
#include "base/limits.h"

namespace ferry::os {
namespace {

// glibc's ptrace() is variadic; this gives every argument its kernel type.
long raw_ptrace(int request, Tid tid, unsigned long address, void* data) {
    return ::ptrace(static_cast<__ptrace_request>(request), tid.value, address, data);
}

// An integer passed in the data argument, which the kernel's interface types as a pointer.
void* as_data(unsigned long value) {
    return reinterpret_cast<void*>(
        value);  // NOLINT(performance-no-int-to-ptr): ptrace's own interface
}

Error ptrace_error(int code, const char* request, Tid tid) {
    if (code == ESRCH) {
        return Error::gone(fmt::format("thread {} is gone or not stopped ({})", tid, request));
    }
    return Error::system(code, fmt::format("ptrace({}, {})", request, tid));
}

Result<long> checked(int request, const char* name, Tid tid, unsigned long address, void* data) {
    const long n = raw_ptrace(request, tid, address, data);
    if (n >= 0) return n;
    const int code = errno;
    return fail(ptrace_error(code, name, tid));
}

Result<> done(Result<long> result) {
    if (!result) return fail(std::move(result.error()));
    return {};
}

}  // namespace

Result<> ptrace_seize(Tid tid, unsigned long options) {
    return done(checked(PTRACE_SEIZE, "PTRACE_SEIZE", tid, 0, as_data(options)));
}

Result<> ptrace_set_options(Tid tid, unsigned long options) {
    return done(checked(PTRACE_SETOPTIONS, "PTRACE_SETOPTIONS", tid, 0, as_data(options)));
}

Result<> ptrace_interrupt(Tid tid) {
    return done(checked(PTRACE_INTERRUPT, "PTRACE_INTERRUPT", tid, 0, nullptr));
}

Result<> ptrace_cont(Tid tid, int signal) {
    return done(
        checked(PTRACE_CONT, "PTRACE_CONT", tid, 0, as_data(static_cast<unsigned long>(signal))));
}

Result<> ptrace_syscall(Tid tid, int signal) {
    return done(checked(PTRACE_SYSCALL, "PTRACE_SYSCALL", tid, 0,
                        as_data(static_cast<unsigned long>(signal))));
}

Result<> ptrace_detach(Tid tid, int signal) {
    return done(checked(PTRACE_DETACH, "PTRACE_DETACH", tid, 0,
                        as_data(static_cast<unsigned long>(signal))));
}

Result<std::size_t> ptrace_getregset(Tid tid, int type, std::span<std::byte> into) {
    iovec vector = {.iov_base = into.data(), .iov_len = into.size()};
    TRY(checked(PTRACE_GETREGSET, "PTRACE_GETREGSET", tid, static_cast<unsigned long>(type),
                &vector));
    return vector.iov_len;
}

Result<> ptrace_setregset(Tid tid, int type, std::span<const std::byte> from) {
    iovec vector = {.iov_base = const_cast<std::byte*>(from.data()), .iov_len = from.size()};
    return done(checked(PTRACE_SETREGSET, "PTRACE_SETREGSET", tid, static_cast<unsigned long>(type),
                        &vector));
}

Result<std::uint64_t> ptrace_getsigmask(Tid tid) {
    std::uint64_t mask = 0;
    TRY(checked(PTRACE_GETSIGMASK, "PTRACE_GETSIGMASK", tid, sizeof(mask), &mask));
    return mask;
}

Result<> ptrace_setsigmask(Tid tid, std::uint64_t mask) {
    return done(checked(PTRACE_SETSIGMASK, "PTRACE_SETSIGMASK", tid, sizeof(mask), &mask));
}

Result<std::vector<RawSignalInfo>> ptrace_peeksiginfo(Tid tid, SignalQueue queue) {
    static constexpr std::size_t kBatch = 32;
    std::vector<RawSignalInfo> signals;
    for (;;) {
        std::array<RawSignalInfo, kBatch> batch;
        struct __ptrace_peeksiginfo_args arguments = {};
        arguments.off = signals.size();
        arguments.flags = queue == SignalQueue::Process ? unsigned{PTRACE_PEEKSIGINFO_SHARED} : 0u;
        arguments.nr = kBatch;
        const long raw = raw_ptrace(PTRACE_PEEKSIGINFO, tid,
                                    reinterpret_cast<unsigned long>(&arguments), batch.data());
        if (raw < 0) {
            const int code = errno;
            return fail(ptrace_error(code, "PTRACE_PEEKSIGINFO", tid));
        }
        signals.insert(signals.end(), batch.begin(), batch.begin() + raw);
        if (raw < static_cast<long>(kBatch)) return signals;
        if (signals.size() > limits::kPendingSignalsMax) {
            return fail(Error::limit(fmt::format("thread {} has more than {} pending signals", tid,
                                                 limits::kPendingSignalsMax)));
        }
    }
}

Result<RseqConfiguration> ptrace_get_rseq_configuration(Tid tid) {
    struct __ptrace_rseq_configuration raw = {};
    TRY(checked(PTRACE_GET_RSEQ_CONFIGURATION, "PTRACE_GET_RSEQ_CONFIGURATION", tid, sizeof(raw),
                &raw));
    return RseqConfiguration{.address = raw.rseq_abi_pointer,
                             .size = raw.rseq_abi_size,
                             .signature = raw.signature,
                             .flags = raw.flags};
}

Result<std::uint64_t> ptrace_geteventmsg(Tid tid) {
    unsigned long message = 0;
    TRY(checked(PTRACE_GETEVENTMSG, "PTRACE_GETEVENTMSG", tid, 0, &message));
    return message;
}

Result<std::optional<SeccompProgram>> ptrace_seccomp_get_filter(Tid tid, unsigned index) {
    constexpr std::size_t kInstructionBytes = 8;
    const long count = raw_ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, nullptr);
    if (count < 0) {
        const int code = errno;
        // EINVAL: the thread has no filters at all.
        if (code == ENOENT || code == EINVAL) return std::optional<SeccompProgram>();
        return fail(ptrace_error(code, "PTRACE_SECCOMP_GET_FILTER", tid));
    }
    SeccompProgram filter;
    filter.program.resize(static_cast<std::size_t>(count) * kInstructionBytes);
    TRY(checked(PTRACE_SECCOMP_GET_FILTER, "PTRACE_SECCOMP_GET_FILTER", tid, index,
                filter.program.data()));
    struct __ptrace_seccomp_metadata metadata = {};
    metadata.filter_off = index;
    TRY(checked(PTRACE_SECCOMP_GET_METADATA, "PTRACE_SECCOMP_GET_METADATA", tid, sizeof(metadata),
                &metadata));
    filter.flags = static_cast<std::uint32_t>(metadata.flags);
    return std::optional(std::move(filter));
}

namespace {

Result<std::optional<int>> wait_once(Tid tid, int flags) {
    for (;;) {
        int status = 0;
        const pid_t n = ::waitpid(tid.value, &status, flags);
        if (n > 0) return std::optional<int>(status);
        if (n == 0) return std::optional<int>();
        const int code = errno;
        if (code == EINTR) continue;
        if (code == ECHILD) return fail(Error::gone(fmt::format("thread {} is gone", tid)));
        return fail(Error::system(code, fmt::format("waitpid({})", tid)));
    }
}

}  // namespace

Result<std::optional<int>> wait_nohang(Tid tid) {
    return wait_once(tid, __WALL | WNOHANG);
}

Result<int> wait_blocking(Tid tid) {
    const std::optional<int> status = TRY(wait_once(tid, __WALL));
    return *status;
}

ChildSignal::ChildSignal() {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    CHECK(::pthread_sigmask(SIG_BLOCK, &child, &before_) == 0);
}

ChildSignal::~ChildSignal() {
    CHECK(::pthread_sigmask(SIG_SETMASK, &before_, nullptr) == 0);
}

void ChildSignal::sleep(std::chrono::microseconds longest) const {
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    const timespec time = {.tv_sec = longest.count() / 1'000'000,
                           .tv_nsec = longest.count() % 1'000'000 * 1000};
    // EAGAIN: the time is over; EINTR: another signal's handler ran. The caller looks in both
    // cases.
    static_cast<void>(::sigtimedwait(&child, nullptr, &time));
}

}  // namespace ferry::os
