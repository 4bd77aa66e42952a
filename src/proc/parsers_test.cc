#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <string>

#include "proc/maps.h"
#include "proc/stat.h"
#include "proc/status.h"
#include "proc/syscall.h"
#include "proc/tables.h"

namespace ferry::proc {
namespace {

std::string stat_line(const std::string& comm) {
    return "4711 (" + comm +
           ") S 1 4711 4700 34816 4711 4194304 100 0 0 0 1 2 0 0 25 5 3 0 123456 1000000 50 "
           "18446744073709551615 4194304 4200000 140722 0 0 0 0 4096 17475 0 0 0 17 1 10 2 0 0 0 "
           "4300000 4400000 5000000 140723 140724 140725 140726 256\n";
}

TEST(ParseStat, ReadsFieldsByTheirNumbersInTheManual) {
    const auto stat = parse_stat(stat_line("redis-server"));
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->pid.value, 4711);
    EXPECT_EQ(stat->comm, "redis-server");
    EXPECT_EQ(stat->state, 'S');
    EXPECT_EQ(stat->parent.value, 1);
    EXPECT_EQ(stat->session.value, 4700);
    EXPECT_EQ(stat->nice, 5);
    EXPECT_EQ(stat->thread_count, 3);
    EXPECT_EQ(stat->start_time, 123456u);
    EXPECT_EQ(stat->start_code, 4194304u);
    EXPECT_EQ(stat->start_stack, 140722u);
    EXPECT_EQ(stat->rt_priority, 10u);
    EXPECT_EQ(stat->policy, 2u);
    EXPECT_EQ(stat->start_brk, 5000000u);
    EXPECT_EQ(stat->env_end, 140726u);
    EXPECT_EQ(stat->exit_code, 256);
}

TEST(ParseStat, TakesANameWithParenthesesAndBlanks) {
    const auto stat = parse_stat(stat_line("a) S (b 7"));
    ASSERT_TRUE(stat);
    EXPECT_EQ(stat->comm, "a) S (b 7");
    EXPECT_EQ(stat->state, 'S');
}

TEST(ParseStat, RefusesWhatIsNoStatLine) {
    for (const std::string text : {"", "4711", "4711 (x", "x (y) S 1", ") 1 (", "1 (a) S 1 2 3"}) {
        EXPECT_FALSE(parse_stat(text)) << text;
    }
}

TEST(ParseStatus, ReadsIdsMasksAndFlags) {
    const auto status = parse_status(
        "Name:\tredis-server\nUmask:\t0077\nState:\tS (sleeping)\nTgid:\t10\nNgid:\t0\nPid:\t11\n"
        "PPid:\t1\nTracerPid:\t99\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t4 24 27 \n"
        "NStgid:\t10\t3\nVmRSS:\t    1234 kB\nCoreDumping:\t0\nTHP_enabled:\t0\nThreads:\t5\n"
        "SigPnd:\t0000000000000001\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000010000\n"
        "SigIgn:\t0000000000001000\nSigCgt:\t0000000180000200\nCapInh:\t0000000000000000\n"
        "CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n"
        "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n");
    ASSERT_TRUE(status);
    EXPECT_EQ(status->umask, 077u);
    EXPECT_EQ(status->process.value, 10);
    EXPECT_EQ(status->tid.value, 11);
    EXPECT_EQ(status->tracer.value, 99);
    EXPECT_EQ(status->uids[3], 4u);
    EXPECT_EQ(status->groups, (std::vector<std::uint32_t>{4, 24, 27}));
    EXPECT_EQ(status->ns_pids, (std::vector<pid_t>{10, 3}));
    EXPECT_EQ(status->resident_kib, 1234u);
    EXPECT_FALSE(status->thp_enabled);
    EXPECT_EQ(status->pending_process, 2u);
    EXPECT_EQ(status->caught, 0x180000200u);
    EXPECT_EQ(status->cap_permitted, 0x1ffffffffffu);
    EXPECT_TRUE(status->no_new_privileges);
    EXPECT_EQ(status->seccomp_mode, 2);
}

TEST(ParseStatus, RefusesNonsense) {
    EXPECT_FALSE(parse_status(""));
    EXPECT_FALSE(parse_status("Pid:\tx\n"));
    EXPECT_FALSE(parse_status("Pid:\t1\nUid:\t1\t2\n"));
}

constexpr const char* kMaps =
    "55d0c0a00000-55d0c0a21000 r--p 00000000 fe:01 1234                       /usr/bin/a b\n"
    "55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n"
    "7f0000000000-7f0000001000 rw-s 00002000 00:01 77                         /memfd:x (deleted)\n"
    "7f0000002000-7f0000003000 r-xp 00001000 fe:01 99                         /tmp/new\\012line\n"
    "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n"
    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

TEST(ParseMaps, ReadsEveryColumn) {
    const auto maps = parse_maps(kMaps);
    ASSERT_TRUE(maps);
    ASSERT_EQ(maps->size(), 6u);
    EXPECT_EQ((*maps)[0].path, "/usr/bin/a b");
    EXPECT_EQ((*maps)[0].protection, static_cast<std::uint32_t>(PROT_READ));
    EXPECT_EQ((*maps)[0].device_major, 0xfeu);
    EXPECT_TRUE((*maps)[0].has_file());
    EXPECT_FALSE((*maps)[1].has_file());
    EXPECT_TRUE((*maps)[2].shared);
    EXPECT_TRUE((*maps)[2].deleted);
    EXPECT_EQ((*maps)[2].path, "/memfd:x");
    EXPECT_EQ((*maps)[2].offset, 0x2000u);
    EXPECT_EQ((*maps)[3].path, "/tmp/new\nline");
    EXPECT_EQ((*maps)[5].range.start.value, 0xffffffffff600000u);
}

TEST(ParseMaps, RefusesRangesThatMakeNoSense) {
    for (const char* text : {"2000-1000 r--p 00000000 00:00 0\n", "1001-2000 r--p 0 00:00 0\n",
                             "1000-2000 r--q 00000000 00:00 0\n", "1000-2000\n", "hello\n"}) {
        EXPECT_FALSE(parse_maps(text)) << text;
    }
}

TEST(ParseSmaps, AttachesDetailsToTheirMapping) {
    const auto smaps = parse_smaps(
        "1000-2000 rw-p 00000000 00:00 0 \nSize:                  4 kB\nRss:                   4 "
        "kB\n"
        "Swap:                  8 kB\nVmFlags: rd wr mr lo\n"
        "3000-4000 r--p 00000000 00:00 0 [heap]\nRss: 0 kB\nVmFlags: rd\n");
    ASSERT_TRUE(smaps);
    ASSERT_EQ(smaps->size(), 2u);
    EXPECT_EQ((*smaps)[0].resident_kib, 4u);
    EXPECT_EQ((*smaps)[0].swap_kib, 8u);
    EXPECT_TRUE((*smaps)[0].has_flag("lo"));
    EXPECT_FALSE((*smaps)[1].has_flag("lo"));
    EXPECT_FALSE(parse_smaps("Rss: 4 kB\n"));
}

TEST(ParseLimits, ReadsUnlimitedAndNumbers) {
    const auto limits = parse_limits(
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max cpu time              unlimited            unlimited            seconds   \n"
        "Max open files            1024                 1048576              files     \n");
    ASSERT_TRUE(limits);
    ASSERT_EQ(limits->size(), 2u);
    EXPECT_EQ((*limits)[0].soft, ~std::uint64_t{0});
    EXPECT_EQ((*limits)[1].name, "Max open files");
    EXPECT_EQ((*limits)[1].hard, 1048576u);
    EXPECT_FALSE(parse_limits("heading\nMax open files\n"));
}

TEST(ParseCgroups, ReadsBothVersions) {
    const auto groups = parse_cgroups("4:memory:/a/b:c\n1:name=systemd:/\n0::/x\n");
    ASSERT_TRUE(groups);
    EXPECT_EQ((*groups)[0].path, "/a/b:c");
    EXPECT_EQ((*groups)[1].controllers, "name=systemd");
    EXPECT_EQ((*groups)[2], (CgroupLine{.hierarchy = 0, .controllers = "", .path = "/x"}));
    EXPECT_FALSE(parse_cgroups("4:memory\n"));
}

TEST(ParseTimers, ReadsEachKindOfNotification) {
    const auto timers = parse_timers(
        "ID: 0\nsignal: 12/000000000000004d\nnotify: signal/pid.4711\nClockID: 1\n"
        "ID: 3\nsignal: 34/0000000000000001\nnotify: thread/tid.4712\nClockID: 0\n");
    ASSERT_TRUE(timers);
    ASSERT_EQ(timers->size(), 2u);
    EXPECT_EQ((*timers)[0].signal, 12);
    EXPECT_EQ((*timers)[0].value, 77u);
    EXPECT_EQ((*timers)[0].notify, SIGEV_SIGNAL);
    EXPECT_EQ((*timers)[1].id, 3);
    EXPECT_EQ((*timers)[1].notify, SIGEV_THREAD | SIGEV_THREAD_ID);
    EXPECT_EQ((*timers)[1].target, 4712);
    EXPECT_FALSE(parse_timers("signal: 1/0\n"));
    EXPECT_FALSE(parse_timers("ID: x\n"));
}

TEST(ParseAuxv, EndsWithItsNullPair) {
    const std::uint64_t words[] = {6, 4096, 0, 0, 9, 9};
    const std::string bytes(reinterpret_cast<const char*>(words), sizeof(words));
    const auto auxv = parse_auxv(bytes);
    ASSERT_TRUE(auxv);
    EXPECT_EQ(*auxv, (std::vector<std::uint64_t>{6, 4096, 0, 0}));
    EXPECT_FALSE(parse_auxv(bytes.substr(0, 16)));
}

TEST(ParseChildren, TakesNoneAndMany) {
    EXPECT_TRUE(parse_children("")->empty());
    EXPECT_EQ(*parse_children("12 13 \n"), (std::vector<Pid>{Pid{12}, Pid{13}}));
    EXPECT_FALSE(parse_children("12 x"));
}

TEST(FindField, GivesTheValueWithoutBlanks) {
    EXPECT_EQ(find_field("pos:\t12\nflags:\t0100002 \n", "flags"), "0100002");
    EXPECT_EQ(find_field("pos:\t12\n", "none"), "");
}

TEST(Syscall, AWaitingThreadSaysWhereAndARunningOneDoesNot) {
    const auto waiting =
        parse_syscall("17 0x4 0x7f00001000 0x4000 0x8000 0x0 0xff 0x7ffc00 0x7f1234\n");
    ASSERT_TRUE(waiting) << waiting.error().describe();
    EXPECT_EQ(waiting->number, 17);
    EXPECT_EQ(waiting->arguments[1], 0x7f00001000u);
    EXPECT_EQ(waiting->arguments[5], 0xffu);
    EXPECT_TRUE(parse_syscall("running\n")->is_running);
    EXPECT_EQ(parse_syscall("-1 0x7ffc00 0x7f1234\n")->number, -1);
    EXPECT_FALSE(parse_syscall("17 0x4 8\n"));
    EXPECT_FALSE(parse_syscall(""));
}

}  // namespace
}  // namespace ferry::proc
