// Two seccomp filters, of all threads: one makes mkdir(2) fail, the other rmdir(2). They hold
// afterwards, in the thread that installed them and in the others, and everything else still works.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <thread>

#include "victim.h"

namespace {

constexpr int kDenied = 123;

void deny(unsigned number) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | kDenied),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program = {.len = 4, .filter = filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
        victim::fail("seccomp: %d", errno);
    }
}

// What is not as the filters want it, or nullptr.
const char* complaint() {
    if (mkdir("/proc/none", 0700) != -1 || errno != kDenied) return "mkdir is not denied";
    if (rmdir("/proc/none") != -1 || errno != kDenied) return "rmdir is not denied";
    if (unlink("/proc/none") != -1 || errno == kDenied) return "unlink is denied";
    if (prctl(PR_GET_SECCOMP) != SECCOMP_MODE_FILTER) return "another mode";
    return nullptr;
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    std::atomic<bool> ended = false;
    const char* found = nullptr;
    std::thread other([&] {
        ended.wait(false);
        found = complaint();
    });
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    deny(SYS_mkdir);
    deny(SYS_rmdir);
    victim::wait_for_end();
    ended = true;
    ended.notify_all();
    other.join();
    if (found != nullptr) victim::fail("second thread: %s", found);
    if (const char* own = complaint()) victim::fail("%s", own);
    victim::pass();
}
