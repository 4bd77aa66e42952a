#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>

#include "live/victim_process.h"
#include "trace/ends.h"
#include "trace/freeze.h"
#include "trace/questions.h"
#include "trace/remote_calls.h"
#include "trace/tracee.h"

namespace ferry::trace {
namespace {

using live::VictimProcess;

// Stops the main thread and makes some calls of each kind: without and with memory.
Result<> make_some_calls(Pid pid) {
    const arch::Gadgets gadgets = TRY(find_gadgets(pid));
    Tracee tracee = TRY(Tracee::seize(pid, leader_of(pid)));
    TRY(tracee.stop());
    RemoteCalls calls = TRY(RemoteCalls::borrow(tracee, gadgets));
    const long own = TRY(calls.call(SYS_getpid, {}));
    if (own != pid.value) return fail(Error::corrupt("getpid is wrong"));
    TRY(calls.call(SYS_getcwd, {calls.scratch().value, 256}));
    std::byte first{};
    TRY(calls.read_scratch(std::span(&first, 1)));
    if (first != std::byte{'/'}) return fail(Error::corrupt("getcwd is wrong"));
    // A chain, and more than fits one.
    long brk = 0, twice = 0;
    Questions questions(calls);
    TRY(questions.ask_result(SYS_brk, 0, [&](std::uint64_t v) { brk = static_cast<long>(v); }));
    for (int i = 0; i < 30; ++i) {
        TRY(questions.ask<std::uint64_t>(SYS_time, {0}, 0, [](std::uint64_t) {}));
    }
    TRY(questions.ask_result(SYS_brk, 0, [&](std::uint64_t v) { twice = static_cast<long>(v); }));
    TRY(questions.put());
    if (brk == 0 || brk != twice) return fail(Error::corrupt("brk is wrong"));
    auto bad = calls.call(SYS_close, {100'000});
    if (bad || bad.error().code() != EBADF) return fail(Error::corrupt("close is wrong"));
    TRY(std::move(calls).give_back());
    return std::move(tracee).detach();
}

void expect_ok(const Result<>& result) {
    EXPECT_TRUE(result) << (result ? "" : result.error().describe());
}

class CallsInVictim : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Victims, CallsInVictim,
                         testing::Values("plain", "spinning_vectors", "blocked_calls",
                                         "thread_storm", "fork_storm"));

TEST_P(CallsInVictim, LeaveItAsItWas) {
    VictimProcess victim(GetParam());
    ASSERT_TRUE(victim.started());
    for (int i = 0; i < 100; ++i) expect_ok(make_some_calls(victim.pid()));
    EXPECT_EQ(victim.verdict(), "PASS");
}

// Runs the calls in a child that is traced itself, and kills it at the n-th of its own system call
// stops. False once the child gets to its end before.
bool kill_tracer_at_step(Pid victim, int step) {
    const pid_t tracer = ::fork();
    if (tracer == 0) {
        ::raise(SIGSTOP);
        ::_exit(make_some_calls(victim) ? 0 : 1);
    }
    int status = 0;
    ::waitpid(tracer, &status, WUNTRACED);
    EXPECT_TRUE(WIFSTOPPED(status));
    auto watched = Tracee::seize(Pid{tracer}, Tid{tracer}, OnTracerExit::Kill);
    EXPECT_TRUE(watched);
    ::kill(tracer, SIGCONT);
    for (int stops = 0; stops < step;) {
        const Stop stop = watched->wait(std::chrono::seconds(10)).value();
        if (stop.is_end()) {
            EXPECT_EQ(stop.status, 0);
            return false;
        }
        if (stop.kind == Stop::Kind::Syscall) ++stops;
        if (stops == step) break;
        EXPECT_TRUE(watched->resume_to_syscall());
    }
    ::kill(tracer, SIGKILL);
    EXPECT_TRUE(await_ends({watched->tid()}, std::chrono::seconds(10)));
    watched->forget();
    ::waitpid(tracer, &status, 0);
    return true;
}

class TracerKilled : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Victims, TracerKilled,
                         testing::Values("plain", "spinning_vectors", "fork_storm"));

TEST_P(TracerKilled, AtAnyOfItsSystemCallsLeavesTheVictimUnharmed) {
    VictimProcess victim(GetParam());
    ASSERT_TRUE(victim.started());
    int step = 1;
    while (kill_tracer_at_step(victim.pid(), step) && step < 2000) {
        ASSERT_TRUE(victim.is_alive()) << "after the tracer was killed at step " << step;
        ++step;
    }
    EXPECT_GT(step, 50);
    EXPECT_LT(step, 2000);
    EXPECT_EQ(victim.verdict(), "PASS");
}

// The kernel remembers the rest of such a wait beside the registers.
TEST(Questions, LeaveAWaitWithATimeoutAsItIs) {
    constexpr int kWaitMs = 700;
    const pid_t child = ::fork();
    if (child == 0) {
        const auto begun = std::chrono::steady_clock::now();
        const int ready = ::poll(nullptr, 0, kWaitMs);
        const auto waited = std::chrono::steady_clock::now() - begun;
        ::_exit(ready == 0 && waited >= std::chrono::milliseconds(kWaitMs) &&
                        waited < std::chrono::milliseconds(2 * kWaitMs)
                    ? 0
                    : 1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kWaitMs / 2));
    std::uint64_t slack = 0;
    std::uint64_t address = 0;
    const auto asked = [&]() -> Result<> {
        const arch::Gadgets gadgets = TRY(find_gadgets(Pid{child}));
        EXPECT_TRUE(gadgets.can_load());
        Tracee tracee = TRY(Tracee::seize(Pid{child}, leader_of(Pid{child})));
        TRY(tracee.stop());
        RemoteCalls calls = TRY(RemoteCalls::borrow(tracee, gadgets));
        Questions questions(calls);
        for (int i = 0; i < 40; ++i) {
            TRY(questions.ask_result(SYS_prctl, PR_GET_TIMERSLACK,
                                     [&](std::uint64_t found) { slack = found; }));
        }
        TRY(questions.ask<std::uint64_t>(SYS_prctl, {PR_GET_TID_ADDRESS}, 1,
                                         [&](std::uint64_t found) { address = found; }));
        TRY(questions.put());
        TRY(std::move(calls).give_back());
        return std::move(tracee).detach();
    }();
    EXPECT_TRUE(asked) << asked.error().describe();
    EXPECT_EQ(slack, static_cast<std::uint64_t>(::prctl(PR_GET_TIMERSLACK)));
    EXPECT_NE(address, 0u);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Tracee, RefusesAThreadThatHasAnotherTracer) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t other = ::fork();
    if (other == 0) {
        const bool ok = Tracee::seize(victim.pid(), leader_of(victim.pid())).has_value();
        auto held = Tracee::seize(victim.pid(), leader_of(victim.pid()));
        (void)!::write(ends[1], ok ? "y" : "n", 1);
        ::pause();
        ::_exit(0);
    }
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    const auto refused = Tracee::seize(victim.pid(), leader_of(victim.pid()));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(refused.error().message().find("traced by process " + std::to_string(other)),
              std::string::npos)
        << refused.error().message();
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Tracee, RefusesAKernelThread) {
    const auto refused = Tracee::seize(Pid{2}, Tid{2});
    ASSERT_FALSE(refused);
    if (refused.error().kind() == Error::Kind::Gone)
        GTEST_SKIP() << "own pid namespace: no kthreadd";
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(refused.error().message().find("kernel thread"), std::string::npos);
}

TEST(Tracee, RefusesAThreadOfAnotherProcessAndLetsItRun) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    const auto refused = Tracee::seize(Pid{::getppid()}, leader_of(victim.pid()));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Gone);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Tracee, SaysGoneForAPidThatDoesNotExist) {
    const auto refused = Tracee::seize(Pid{4'000'000}, Tid{4'000'000});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Gone);
}

TEST(Tracee, RefusesOurselves) {
    const auto refused = Tracee::seize(Pid{::getpid()}, Tid{::getpid()});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
}

TEST(Tracee, SaysGoneWhenTheThreadIsKilledWhileStopped) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    auto tracee = Tracee::seize(victim.pid(), leader_of(victim.pid()));
    ASSERT_TRUE(tracee);
    expect_ok(tracee->stop());
    ::kill(victim.pid().value, SIGKILL);
    expect_ok(await_ends({tracee->tid()}, std::chrono::seconds(10)));
    EXPECT_FALSE(tracee->registers());
    tracee->forget();
    // Whoever has not heard of it yet goes on asking.
    EXPECT_EQ(tracee->stop().error().kind(), Error::Kind::Gone);
    EXPECT_EQ(tracee->interrupt().error().kind(), Error::Kind::Gone);
    EXPECT_EQ(tracee->poll().error().kind(), Error::Kind::Gone);
    EXPECT_EQ(tracee->resume().error().kind(), Error::Kind::Gone);
}

class FreezeVictim : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Victims, FreezeVictim,
                         testing::Values("plain", "spinning_vectors", "blocked_calls",
                                         "thread_storm", "fork_storm"));

TEST_P(FreezeVictim, StopsEveryThreadAndThaws) {
    VictimProcess victim(GetParam());
    ASSERT_TRUE(victim.started());
    for (int i = 0; i < 20; ++i) {
        auto freeze = Freeze::stop(victim.pid());
        ASSERT_TRUE(freeze) << freeze.error().describe();
        for (FrozenProcess& process : freeze->processes()) {
            if (process.is_zombie) continue;
            const auto threads = process.directory.threads();
            ASSERT_TRUE(threads);
            EXPECT_EQ(threads->size(), process.threads.size());
            EXPECT_EQ(process.threads.front().tid(), leader_of(process.pid));
            for (const Tid tid : *threads) {
                const auto directory = proc::ProcessDirectory::open_thread(process.pid, tid);
                ASSERT_TRUE(directory);
                EXPECT_EQ(directory->stat()->state, 't');
            }
        }
        expect_ok(std::move(*freeze).thaw());
    }
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Freeze, ThawsInItsDestructor) {
    VictimProcess victim("blocked_calls");
    ASSERT_TRUE(victim.started());
    {
        ASSERT_TRUE(Freeze::stop(victim.pid()));
    }
    EXPECT_NE(victim.state(), 't');
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Freeze, SomeAreStoppedFirstAndTheOthersGoOn) {
    struct Seen {
        std::atomic<int> child, parent_after;
    };
    void* const page =
        ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(page, MAP_FAILED);
    Seen& seen = *new (page) Seen{};
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t root = ::fork();
    if (root == 0) {
        const pid_t child = ::fork();
        if (child == 0) {
            for (;; ::usleep(500)) ++seen.child;
        }
        std::ignore = ::write(ends[1], &child, sizeof(child));
        // How long the child has not moved, in steps of ours.
        for (int last = 0;; ::usleep(1000)) {
            const int now = seen.child;
            seen.parent_after = now == last ? seen.parent_after + 1 : 0;
            last = now;
        }
    }
    pid_t child = 0;
    ASSERT_EQ(::read(ends[0], &child, sizeof(child)), ssize_t{sizeof(child)});
    auto freeze = Freeze::stop(Pid{root}, {}, {{Pid{child}}, std::chrono::milliseconds(400)});
    ASSERT_TRUE(freeze) << freeze.error().describe();
    EXPECT_EQ(freeze->processes().size(), 2u);
    EXPECT_EQ(freeze->processes().front().pid.value, root);
    EXPECT_GT(seen.parent_after, 10);
    expect_ok(std::move(*freeze).kill());
    ::waitpid(root, nullptr, 0);
    ::munmap(page, sizeof(Seen));
}

TEST(Freeze, LeavesTheTreeInSigstopWhenAsked) {
    VictimProcess victim("spinning_vectors");
    ASSERT_TRUE(victim.started());
    auto freeze = Freeze::stop(victim.pid());
    ASSERT_TRUE(freeze);
    expect_ok(std::move(*freeze).leave_stopped());
    while (victim.state() == 'R') std::this_thread::yield();
    EXPECT_EQ(victim.state(), 'T');
    ::kill(victim.pid().value, SIGCONT);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Freeze, KillsTheWholeTree) {
    VictimProcess victim("blocked_calls");
    ASSERT_TRUE(victim.started());
    auto freeze = Freeze::stop(victim.pid());
    ASSERT_TRUE(freeze);
    EXPECT_EQ(freeze->thread_count(), 5u);
    expect_ok(std::move(*freeze).kill());
    EXPECT_FALSE(victim.is_alive());
}

TEST(Freeze, SaysGoneForAPidThatDoesNotExist) {
    const auto freeze = Freeze::stop(Pid{4'000'000});
    ASSERT_FALSE(freeze);
    EXPECT_EQ(freeze.error().kind(), Error::Kind::Gone);
}

}  // namespace
}  // namespace ferry::trace
