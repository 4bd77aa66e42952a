#include "os/clone.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace ferry::os {
namespace {

// glibc registered the thread's rseq area, which lies in memory that the image is about to unmap;
// the kernel would kill the child when it next writes there.
void unregister_rseq() noexcept {
    if (__rseq_size == 0) return;
    auto* thread = static_cast<std::byte*>(__builtin_thread_pointer());
    constexpr int kUnregister = 1;
    // The size that was registered is what __rseq_size says, or 32, the size of the original
    // struct.
    if (::syscall(SYS_rseq, thread + __rseq_offset, 32, kUnregister, RSEQ_SIG) != 0) {
        ::syscall(SYS_rseq, thread + __rseq_offset, __rseq_size, kUnregister, RSEQ_SIG);
    }
}

// Runs in the child (I7).
[[noreturn]] void enter(const FlatImage& image) noexcept {
    unregister_rseq();
    constexpr int kFlags = MAP_SHARED | MAP_FIXED_NOREPLACE;
    const std::uint64_t data = image.base + image.code_bytes;
    if (::mmap(reinterpret_cast<void*>(image.base), image.code_bytes, PROT_READ | PROT_EXEC, kFlags,
               image.memory, 0) == MAP_FAILED ||
        ::mmap(reinterpret_cast<void*>(data), image.bytes - image.code_bytes,
               PROT_READ | PROT_WRITE, kFlags, image.memory,
               static_cast<off_t>(image.code_bytes)) == MAP_FAILED) {
        ::_exit(1);
    }
    asm volatile(
        "mov %[stack], %%rsp\n\t"
        "xor %%ebp, %%ebp\n\t"
        "call *%[entry]\n\t"
        "ud2"
        :
        : [stack] "r"(image.stack_top), [entry] "r"(image.entry), "D"(image.argument)
        : "memory");
    __builtin_unreachable();
}

}  // namespace

Result<> fork_into_image(Pid pid, const FlatImage& image) {
    const pid_t wanted = pid.value;
    clone_args arguments = {};
    arguments.flags = image.sibling ? CLONE_PARENT : 0;
    arguments.exit_signal = image.sibling ? 0 : SIGCHLD;
    arguments.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
    arguments.set_tid_size = 1;

    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const long result = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
    const int code = errno;
    if (result == 0) enter(image);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (result < 0) return fail(Error::system(code, fmt::format("clone3(set_tid {})", pid)));
    return {};
}

Result<bool> child_subreaper() {
    int on = 0;
    if (::prctl(PR_GET_CHILD_SUBREAPER, &on) != 0) {
        const int code = errno;
        return fail(Error::system(code, "prctl(PR_GET_CHILD_SUBREAPER)"));
    }
    return on != 0;
}

Result<> set_child_subreaper(bool on) {
    if (::prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0) != 0) {
        const int code = errno;
        return fail(Error::system(code, "prctl(PR_SET_CHILD_SUBREAPER)"));
    }
    return {};
}

}  // namespace ferry::os
