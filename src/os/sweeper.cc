#include "os/sweeper.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <span>

#include "os/process.h"

namespace ferry::os {
namespace {

constexpr int kAttempts = 2000;
constexpr timespec kPause = {0, 10'000'000};

// Allocates nothing (I7), like its callers. Closes everything inherited, so that no pipe of ours
// stays open through it, but for `held`.
void await_death(int parent, int held = -1) noexcept {
    constexpr int kHeld = 3;
    ::setsid();
    ::prctl(PR_SET_NAME, "ferry-sweeper");
    ::dup2(parent, 0);
    if (held >= 0 && held != kHeld) ::dup3(held, kHeld, O_CLOEXEC);
    ::syscall(SYS_close_range, 1u, 2u, 0u);
    ::syscall(SYS_close_range, held >= 0 ? kHeld + 1u : kHeld, ~0u, 0u);
    struct pollfd died = {0, POLLIN, 0};
    while (::poll(&died, 1, -1) < 1) {
    }
}

[[noreturn]] void sweep(std::span<const std::string> directories, int parent) noexcept {
    await_death(parent);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        bool busy = false;
        for (const std::string& directory : directories) {
            if (::rmdir(directory.c_str()) != 0 && errno == EBUSY) busy = true;
        }
        if (!busy) break;
        ::nanosleep(&kPause, nullptr);
    }
    ::_exit(0);
}

void run_command(std::span<char* const> command) noexcept {
    const pid_t child = ::fork();
    if (child == 0) {
        ::execvp(command[0], command.data());
        ::_exit(127);
    }
    while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
}

void silence() noexcept {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int standard = 0; standard <= 2; ++standard) ::dup2(null, standard);
}

[[noreturn]] void run_once(std::span<char* const> command, int parent) noexcept {
    await_death(parent);
    silence();
    run_command(command);
    ::_exit(0);
}

[[noreturn]] void undo(const Undoing& undoing, std::span<char* const> command,
                       int parent) noexcept {
    await_death(parent, undoing.held);
    silence();
    const int enough =
        static_cast<int>(std::chrono::seconds(1) / std::chrono::nanoseconds(kPause.tv_nsec));
    for (int attempt = 0, gone = 0; attempt < kAttempts && gone < enough; ++attempt) {
        if (::access(undoing.until_gone.c_str(), F_OK) == 0) {
            gone = 0;
            run_command(command);
        } else {
            ++gone;
        }
        ::nanosleep(&kPause, nullptr);
    }
    for (const std::string& file : undoing.files) ::unlink(file.c_str());
    for (const std::string& directory : undoing.directories) ::rmdir(directory.c_str());
    ::_exit(0);
}

std::vector<char*> pointers_to(std::vector<std::string>& arguments) {
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace

Result<ChildProcess> undo_after_death(const Undoing& undoing) {
    std::vector<std::string> copies = undoing.command;
    const std::vector<char*> command = pointers_to(copies);
    const PidFd parent = TRY(PidFd::open(Pid{::getpid()}));
    return ChildProcess::fork([&] { undo(undoing, command, parent.get()); });
}

Result<ChildProcess> run_after_death(const std::vector<std::string>& command) {
    std::vector<std::string> copies = command;
    const std::vector<char*> pointers = pointers_to(copies);
    const PidFd parent = TRY(PidFd::open(Pid{::getpid()}));
    return ChildProcess::fork([&] { run_once(pointers, parent.get()); });
}

Result<ChildProcess> sweep_after_death(const std::vector<std::string>& directories) {
    const PidFd parent = TRY(PidFd::open(Pid{::getpid()}));
    return ChildProcess::fork([&] { sweep(directories, parent.get()); });
}

}  // namespace ferry::os
