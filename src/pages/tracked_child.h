// For live tests: a forked child that hands its userfaultfd to the test, as a traced task would.
#pragma once

#include <linux/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/types.h"
#include "os/fd.h"
#include "os/memory.h"
#include "os/process.h"
#include "os/userfault.h"
#include "pages/tracker.h"

namespace ferry::pages {

// Shared between the test and its child; the child also puts its addresses here.
struct Control {
    std::atomic<int> userfault{-1};
    std::atomic<bool> taken{false};
    std::atomic<bool> stop{false};
    std::atomic<int> step{0};
    std::atomic<std::uint64_t> operations{0};
    std::atomic<std::uint64_t> address{0};

    void wait_for_step(int wanted) const {
        while (step.load() < wanted) std::this_thread::yield();
    }
};

// Kills and reaps its child at the end.
class TrackedChild {
  public:
    // Runs body(control) in a child that dies with the test; the body begins after the test has
    // taken the userfaultfd.
    explicit TrackedChild(const std::function<void(Control&)>& body) {
        auto mapping =
            os::Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
        CHECK(mapping);
        shared_ = std::move(*mapping);
        control_ = new (shared_.data()) Control;
        pid_ = Pid{::fork()};
        CHECK(pid_.value >= 0);
        if (pid_.value == 0) run(body, *control_);
    }
    TrackedChild(const TrackedChild&) = delete;
    TrackedChild& operator=(const TrackedChild&) = delete;
    ~TrackedChild() {
        if (pid_.value <= 0) return;
        ::kill(pid_.value, SIGKILL);
        ::waitpid(pid_.value, nullptr, 0);
    }

    [[nodiscard]] Pid pid() const { return pid_; }
    Control& control() { return *control_; }

    Result<Tracker> track() {
        while (control_->userfault.load() < 0) std::this_thread::yield();
        const os::PidFd process = TRY(os::PidFd::open(pid_));
        os::UniqueFd userfault = TRY(process.getfd(control_->userfault.load()));
        control_->taken.store(true);
        return Tracker::start(pid_, std::move(userfault));
    }
    // Stops the child and waits until it stands still.
    void freeze() const {
        CHECK(::kill(pid_.value, SIGSTOP) == 0);
        int status = 0;
        CHECK(::waitpid(pid_.value, &status, WUNTRACED) == pid_.value);
        if (!WIFSTOPPED(status))
            std::fprintf(stderr, "the child ended: status %#x\n", static_cast<unsigned>(status));
        CHECK(WIFSTOPPED(status));
    }
    void thaw() const { CHECK(::kill(pid_.value, SIGCONT) == 0); }
    // For tests that end the child themselves.
    void kill_and_reap() {
        ::kill(pid_.value, SIGKILL);
        ::waitpid(std::exchange(pid_, Pid{}).value, nullptr, 0);
    }

  private:
    [[noreturn]] static void run(const std::function<void(Control&)>& body,
                                 Control& control) noexcept {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        {
            const auto userfault = os::userfaultfd();
            CHECK(userfault);
            control.userfault.store(userfault->get());
            while (!control.taken.load()) std::this_thread::yield();
        }
        body(control);
        while (!control.stop.load()) ::usleep(1000);
        ::_exit(0);
    }

    os::Mapping shared_;
    Control* control_ = nullptr;
    Pid pid_;
};

}  // namespace ferry::pages
