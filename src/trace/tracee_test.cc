#include "trace/tracee.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>

namespace ferry::trace {
namespace {

// Status words as waitpid(2) gives them.
constexpr int exited(int status) {
    return status << 8;
}
constexpr int stopped(int signal, int event = 0) {
    return event << 16 | signal << 8 | 0x7f;
}

TEST(StopDecode, TellsTheTwoWaysToEnd) {
    EXPECT_EQ(Stop::decode(exited(3)).kind, Stop::Kind::Exited);
    EXPECT_EQ(Stop::decode(exited(3)).status, 3);
    EXPECT_EQ(Stop::decode(SIGKILL).kind, Stop::Kind::Killed);
    EXPECT_EQ(Stop::decode(SIGKILL).signal, SIGKILL);
    EXPECT_TRUE(Stop::decode(SIGSEGV | 0x80).is_end());  // with a core dump
}

TEST(StopDecode, TellsOurInterruptFromAGroupStop) {
    EXPECT_EQ(Stop::decode(stopped(SIGTRAP, PTRACE_EVENT_STOP)).kind, Stop::Kind::Interrupt);
    for (const int signal : {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU}) {
        EXPECT_EQ(Stop::decode(stopped(signal, PTRACE_EVENT_STOP)).kind, Stop::Kind::Group);
    }
}

TEST(StopDecode, TellsSystemCallsFromTheTrapSignal) {
    EXPECT_EQ(Stop::decode(stopped(SIGTRAP | 0x80)).kind, Stop::Kind::Syscall);
    EXPECT_EQ(Stop::decode(stopped(SIGTRAP)).kind, Stop::Kind::Signal);
    EXPECT_EQ(Stop::decode(stopped(SIGUSR1)).signal, SIGUSR1);
    EXPECT_EQ(Stop::decode(stopped(SIGTRAP, PTRACE_EVENT_CLONE)).kind, Stop::Kind::Event);
}

}  // namespace
}  // namespace ferry::trace
