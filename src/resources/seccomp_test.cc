#include "resources/seccomp.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <cstddef>

namespace ferry::resources {
namespace {

model::SeccompFilter filter_of(const std::vector<sock_filter>& program) {
    const auto bytes = std::as_bytes(std::span(program));
    return {.program = {bytes.begin(), bytes.end()}, .flags = 0};
}
sock_filter load(std::size_t offset) {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter answer(std::uint32_t action) {
    return BPF_STMT(BPF_RET | BPF_K, action);
}
sock_filter if_equal(std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no);
}
// One answer for one system call, another for all others.
std::vector<sock_filter> at_call(std::uint32_t number, std::uint32_t there,
                                 std::uint32_t elsewhere) {
    return {load(offsetof(seccomp_data, nr)), if_equal(number, 0, 1), answer(there),
            answer(elsewhere)};
}
std::string verdict(const std::vector<sock_filter>& program) {
    const auto checked = check_seccomp(Pid{7}, {filter_of(program)});
    return checked ? "carried" : checked.error().message();
}

TEST(Seccomp, AFilterThatAnswersWithErrorsIsCarried) {
    EXPECT_EQ(verdict(at_call(SYS_read, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | 1)), "carried");
}

TEST(Seccomp, AFilterThatKillsAtACallThatNobodyMakesForUsIsCarried) {
    EXPECT_EQ(verdict(at_call(SYS_ptrace, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW)), "carried");
}

TEST(Seccomp, AFilterThatKillsAtOneOfOurCallsIsRefusedWithItsName) {
    EXPECT_NE(verdict(at_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW))
                  .find("does not let it survive userfaultfd"),
              std::string::npos);
}

TEST(Seccomp, AnotherArchitectureMayBeKilled) {
    EXPECT_EQ(verdict({load(offsetof(seccomp_data, arch)), if_equal(AUDIT_ARCH_X86_64, 1, 0),
                       answer(SECCOMP_RET_KILL_PROCESS), answer(SECCOMP_RET_ALLOW)}),
              "carried");
}

TEST(Seccomp, WhatDependsOnArgumentsCountsBothWays) {
    EXPECT_NE(verdict({load(offsetof(seccomp_data, nr)), if_equal(SYS_prctl, 0, 3),
                       load(offsetof(seccomp_data, args)), if_equal(15, 1, 0),
                       answer(SECCOMP_RET_TRAP), answer(SECCOMP_RET_ALLOW)})
                  .find("prctl"),
              std::string::npos);
}

TEST(Seccomp, ASupervisedProcessIsRefused) {
    EXPECT_NE(
        verdict(at_call(SYS_mount, SECCOMP_RET_USER_NOTIF, SECCOMP_RET_ALLOW)).find("supervisor"),
        std::string::npos);
}

TEST(Seccomp, AFilterThatEndsNowhereIsRefused) {
    EXPECT_NE(verdict({load(offsetof(seccomp_data, nr))}), "carried");
}

}  // namespace
}  // namespace ferry::resources
