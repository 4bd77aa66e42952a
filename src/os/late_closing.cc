#include "os/late_closing.h"

#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "os/launch.h"

namespace ferry::os {
namespace {

// An orphan from the start, so that nobody has to reap it. Allocates nothing (I7).
[[noreturn]] void hold_copies(int read_end, int write_end) noexcept {
    ::close(write_end);
    struct clone_args arguments = {};
    if (::syscall(SYS_clone3, &arguments, sizeof arguments) != 0) ::_exit(0);
    ::setsid();
    ::prctl(PR_SET_NAME, "ferry-closing");
    for (int standard = 0; standard <= 2; ++standard) ::close(standard);
    char byte = 0;
    while (::read(read_end, &byte, 1) < 0 && errno == EINTR) continue;
    ::_exit(0);
}

}  // namespace

Result<LateClosing> LateClosing::begin() {
    auto [read_end, write_end] = TRY(pipe2(0));
    ChildProcess first =
        TRY(ChildProcess::fork([&] { hold_copies(read_end.get(), write_end.get()); }));
    constexpr std::chrono::seconds kTimeout{10};
    TRY(first.wait(kTimeout));
    return LateClosing(std::move(write_end));
}

}  // namespace ferry::os
