#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "base/log.h"
#include "dump/source_tree.h"
#include "live/victim_process.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "os/task.h"
#include "trace/tracee.h"

namespace ferry::dump {
namespace {

using live::VictimProcess;

template <class T>
void expect_ok(const Result<T>& result) {
    EXPECT_TRUE(result) << (result ? "" : result.error().describe());
}

std::size_t count_fds(Pid pid) {
    const std::filesystem::path path = "/proc/" + std::to_string(pid.value) + "/fd";
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
}

class SourceOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Victims, SourceOf,
                         testing::Values("plain", "spinning_vectors", "blocked_calls",
                                         "thread_storm", "fork_storm", "process_state", "seccomp"));

TEST_P(SourceOf, IsCollectedAgainAndAgainWithoutHarm) {
    VictimProcess victim(GetParam());
    ASSERT_TRUE(victim.started());
    const std::size_t fds = count_fds(victim.pid());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    for (int i = 0; i < 10; ++i) {
        const auto skeleton = tree->skeleton();
        ASSERT_TRUE(skeleton) << skeleton.error().describe();
        auto frozen = tree->freeze();
        ASSERT_TRUE(frozen) << frozen.error().describe();
        const auto collected = tree->collect(*frozen);
        ASSERT_TRUE(collected) << collected.error().describe();
        EXPECT_EQ(collected->busy, "");
        EXPECT_EQ(collected->checkpoint.root().pid, victim.pid());
        expect_ok(std::move(*frozen).thaw());
    }
    EXPECT_EQ(count_fds(victim.pid()), fds);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST_P(SourceOf, GivesAUserfaultfdAndKeepsNothing) {
    VictimProcess victim(GetParam());
    ASSERT_TRUE(victim.started());
    const std::size_t fds = count_fds(victim.pid());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    for (int i = 0; i < 10; ++i) {
        const auto userfault = tree->make_userfaultfd(victim.pid());
        ASSERT_TRUE(userfault) << userfault.error().describe();
        const auto link =
            os::readlinkat(os::kCwd, "/proc/self/fd/" + std::to_string(userfault->get()));
        EXPECT_EQ(link.value_or(""), "anon_inode:[userfaultfd]");
    }
    EXPECT_EQ(count_fds(victim.pid()), fds);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Collect, ReadsWhatTheVictimSet) {
    VictimProcess victim("process_state");
    ASSERT_TRUE(victim.started());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    auto frozen = tree->freeze();
    ASSERT_TRUE(frozen) << frozen.error().describe();
    const auto collected = tree->collect(*frozen);
    ASSERT_TRUE(collected) << collected.error().describe();
    const model::Process& p = collected->checkpoint.root();
    const model::SignalAction& usr1 = p.actions[SIGUSR1 - 1];
    EXPECT_NE(usr1.handler, 0u);
    EXPECT_NE(usr1.restorer, 0u);
    EXPECT_EQ(usr1.mask, 1ull << (SIGHUP - 1));
    EXPECT_EQ(p.actions[SIGPIPE - 1].handler, 1u);
    EXPECT_EQ(p.interval_timers[0].interval_us, 7'000'000u);
    ASSERT_EQ(p.posix_timers.size(), 1u);
    EXPECT_EQ(p.posix_timers[0].signal, SIGUSR2);
    EXPECT_EQ(p.posix_timers[0].value & 0xffffffffu, 77u);
    EXPECT_EQ(p.posix_timers[0].clock, CLOCK_MONOTONIC);
    EXPECT_EQ(p.posix_timers[0].interval_ns, 3'000'000'005u);
    EXPECT_EQ(p.umask, 027u);
    EXPECT_EQ(p.limits[RLIMIT_NOFILE], (model::ResourceLimit{.soft = 100, .hard = 200}));
    ASSERT_EQ(p.threads.size(), 1u);
    const model::Thread& t = p.leader();
    EXPECT_EQ(t.comm, "renamed");
    EXPECT_EQ(t.scheduling.nice, 5);
    EXPECT_TRUE(t.scheduling.affinity.empty());
    EXPECT_EQ(t.pending.size(), 1u);
    EXPECT_EQ(t.alternate_stack.size, 1u << 16);
    EXPECT_NE(t.clear_child_tid, 0u);
    EXPECT_NE(t.robust_list, 0u);
    EXPECT_NE(t.rseq.address, 0u);
    // sigsuspend: issued again, with the mask that holds outside of it.
    EXPECT_EQ(t.registers.raw.rax, 130u);
    EXPECT_EQ(t.signal_mask, 1ull << (SIGUSR1 - 1) | 1ull << (SIGTERM - 1));
    EXPECT_NE(p.address_space.layout.auxv.size(), 0u);
    EXPECT_GE(p.address_space.layout.brk, p.address_space.layout.start_brk);
    int locked = 0, dont_fork = 0, stacks = 0;
    for (const model::Vma& vma : p.address_space.vmas) {
        if (vma.locked) ++locked;
        if (vma.advice == std::vector<int>{MADV_DONTFORK}) ++dont_fork;
        if (vma.is_stack && vma.grows_down) ++stacks;
    }
    EXPECT_EQ(locked, 1);
    EXPECT_EQ(dont_fork, 1);
    EXPECT_EQ(stacks, 1);
    expect_ok(std::move(*frozen).thaw());
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Collect, KeepsFileIdsOfMappingsFromOneSkeletonToTheNext) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    const auto first = tree->skeleton(), second = tree->skeleton();
    ASSERT_TRUE(first && second);
    auto frozen = tree->freeze();
    ASSERT_TRUE(frozen);
    const auto collected = tree->collect(*frozen);
    ASSERT_TRUE(collected);
    const auto& a = first->root().address_space;
    const auto& b = second->root().address_space;
    const auto& c = collected->checkpoint.root().address_space;
    EXPECT_EQ(a.exe_file, b.exe_file);
    EXPECT_EQ(a.vmas, b.vmas);
    EXPECT_EQ(b.exe_file, c.exe_file);
    EXPECT_EQ(b.vmas, c.vmas);
    for (const model::Vma& vma : c.vmas) {
        EXPECT_TRUE(vma.file == 0 || collected->checkpoint.find_file(vma.file) != nullptr);
    }
}

TEST(Frozen, KillEndsTheTree) {
    VictimProcess victim("blocked_calls");
    ASSERT_TRUE(victim.started());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    auto frozen = tree->freeze();
    ASSERT_TRUE(frozen);
    expect_ok(std::move(*frozen).kill());
    EXPECT_FALSE(victim.is_alive());
}

// Outside of a template, where GCC 12 cannot compile it.
Result<SourceTree> open_tree(Pid victim, const SourceOptions& options) {
    return SourceTree::open(victim, options);
}

// Lets a child freeze the victim, do `then`, and die by SIGKILL.
template <class F>
void die_after(Pid victim, F then, const SourceOptions& options = {}) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto tree = open_tree(victim, options);
        auto frozen = tree->freeze();
        auto collected = tree->collect(*frozen);
        const bool done = collected.has_value() && then(*frozen).has_value();
        (void)!::write(ends[1], done ? "y" : "n", 1);
        for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'y');
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
}

bool reaches_state(const VictimProcess& victim, char wanted) {
    for (int i = 0; i < 1000; ++i) {
        const char state = victim.state();
        if (state == wanted) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

TEST(Frozen, RunsOnWhenWeDieBeforeTheDecision) {
    VictimProcess victim("blocked_calls");
    ASSERT_TRUE(victim.started());
    die_after(victim.pid(), [](Frozen&) -> Result<> { return {}; });
    EXPECT_TRUE(reaches_state(victim, 'S'));
    EXPECT_EQ(victim.verdict(), "PASS");
}

// It writes at once, before the guardian could end anything.
TEST(Frozen, KeepsItsConnectionsWhenWeDie) {
    const SourceOptions options = {.files = {.tcp_established = true}};
    VictimProcess victim("tcp_talk");
    ASSERT_TRUE(victim.started());
    for (int i = 0; i < 10; ++i) {
        die_after(victim.pid(), [](Frozen&) -> Result<> { return {}; }, options);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Frozen, StandsStillWhenWeDieWhileTheDecisionIsOpen) {
    VictimProcess victim("spinning_vectors");
    ASSERT_TRUE(victim.started());
    die_after(victim.pid(), [](Frozen& frozen) { return frozen.hold(); });
    EXPECT_TRUE(reaches_state(victim, 'T'));
    ::kill(victim.pid().value, SIGCONT);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Frozen, EndsWhenWeDieAfterTheDecision) {
    VictimProcess victim("spinning_vectors");
    ASSERT_TRUE(victim.started());
    die_after(victim.pid(), [](Frozen& frozen) -> Result<> {
        TRY(frozen.hold());
        return frozen.condemn();
    });
    EXPECT_TRUE(reaches_state(victim, 'Z'));
}

TEST(Frozen, IsThawedFromHoldAsIfNothingHadBeen) {
    VictimProcess victim("blocked_calls");
    ASSERT_TRUE(victim.started());
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree);
    for (int i = 0; i < 10; ++i) {
        auto frozen = tree->freeze();
        ASSERT_TRUE(frozen);
        expect_ok(frozen->hold());
        expect_ok(std::move(*frozen).thaw());
    }
    EXPECT_TRUE(reaches_state(victim, 'S'));
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Open, SaysGoneForAPidThatDoesNotExist) {
    const auto tree = SourceTree::open(Pid{4'000'000}, {});
    ASSERT_FALSE(tree);
    EXPECT_EQ(tree.error().kind(), Error::Kind::Gone);
}

TEST(Open, RefusesOurselvesOurParentAndNonsense) {
    for (const pid_t pid : {::getpid(), ::getppid(), 0, -1}) {
        const auto tree = SourceTree::open(Pid{pid}, {});
        ASSERT_FALSE(tree);
        EXPECT_EQ(tree.error().kind(), Error::Kind::Invalid) << tree.error().describe();
    }
}

// Whoever runs the tests has given us pipes, which our children would have: that they lead out of
// the tree is refused before what a test looks for.
void leave_pipes_behind() {
    ::close_range(100, ~0u, 0);
    const int null = ::open("/dev/null", O_RDWR);
    for (int standard = 0; standard <= 2; ++standard) ::dup2(null, standard);
    ::close(null);
}

// Forks a child that does `prepare` and waits to be killed, and opens it.
template <class F>
Result<SourceTree> open_child(F prepare, const SourceOptions& options = {}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        leave_pipes_behind();
        prepare();
        (void)!::write(ends[1], "r", 1);
        for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
    auto tree = SourceTree::open(Pid{child}, options);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return tree;
}

void expect_refused(const Result<SourceTree>& tree, Error::Kind kind, const std::string& word) {
    ASSERT_FALSE(tree);
    EXPECT_EQ(tree.error().kind(), kind) << tree.error().describe();
    EXPECT_NE(tree.error().message().find(word), std::string::npos) << tree.error().describe();
}

// A process beside the tree that maps what we and so our later children map.
void expect_refused_beside_a_sharer(void* shared) {
    const pid_t beside = ::fork();
    if (beside == 0) {
        for (;;) ::pause();
    }
    expect_refused(open_child([] {}), Error::Kind::Unsupported,
                   fmt::format("mapped by process {}, which is outside of the tree", beside));
    ::kill(beside, SIGKILL);
    ::waitpid(beside, nullptr, 0);
    (void)::munmap(shared, 4096);
}

TEST(Open, RefusesSharedAnonymousMemoryThatIsSharedWithTheOutside) {
    expect_refused_beside_a_sharer(
        ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

TEST(Open, RefusesAMemfdThatIsSharedWithTheOutside) {
    const int fd = ::memfd_create("shared", MFD_CLOEXEC);
    ASSERT_EQ(::ftruncate(fd, 4096), 0);
    void* shared = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    expect_refused_beside_a_sharer(shared);
}

TEST(Open, RefusesAMemfdOfHugePagesByName) {
    const int fd = ::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    if (fd < 0) GTEST_SKIP() << "the kernel has no huge pages";
    expect_refused(open_child([] {}), Error::Kind::Unsupported, "a memfd of huge pages");
    ::close(fd);
}

TEST(Open, RefusesSeccompFiltersThatWouldKillByName) {
    expect_refused(open_child([] {
                       sock_filter filter[] = {
                           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
                       const sock_fprog program = {.len = 4, .filter = filter};
                       (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                       (void)::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
                   }),
                   Error::Kind::Unsupported, "does not let it survive userfaultfd");
}

TEST(Open, RefusesSeccompStrictModeByName) {
    expect_refused(open_child([] {
                       // A child, since strict mode allows no pause(2). It ends with its parent.
                       int life[2];
                       int there[2];
                       if (::pipe(life) != 0 || ::pipe(there) != 0) return;
                       char byte = 0;
                       if (::fork() != 0) {
                           (void)!::read(there[0], &byte, 1);
                           return;
                       }
                       ::close(life[1]);
                       (void)::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
                       (void)!::write(there[1], "r", 1);
                       while (::read(life[0], &byte, 1) > 0) {
                       }
                       ::syscall(SYS_exit, 0);
                   }),
                   Error::Kind::Unsupported, "strict mode");
}

TEST(Open, RefusesATimeNamespaceForChildrenOnly) {
    expect_refused(open_child([] { (void)::unshare(CLONE_NEWTIME); }), Error::Kind::Unsupported,
                   "has made a time namespace for its children");
}

TEST(Open, RefusesSeveralTimeNamespacesInATree) {
    expect_refused(open_child([] {
                       int there[2];
                       if (::pipe(there) != 0) return;
                       char byte = 0;
                       if (::fork() != 0) {
                           (void)!::read(there[0], &byte, 1);
                           return;
                       }
                       (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
                       (void)::unshare(CLONE_NEWTIME);
                       const int made = ::open("/proc/self/ns/time_for_children", O_RDONLY);
                       (void)::setns(made, CLONE_NEWTIME);
                       ::close(made);
                       (void)!::write(there[1], "r", 1);
                       for (;;) ::pause();
                   }),
                   Error::Kind::Unsupported, "is in another time namespace than the tree's first");
}

TEST(Open, RefusesAnotherNetworkNamespaceByName) {
    expect_refused(open_child([] { (void)::unshare(CLONE_NEWNET); }), Error::Kind::Unsupported,
                   "another network namespace");
}

TEST(Open, RefusesAForeignSessionUnlessItIsAShellJob) {
    const pid_t session = ::getsid(0);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        for (;;) ::pause();
    }
    expect_refused(SourceTree::open(Pid{child}, {}), Error::Kind::Unsupported,
                   "belongs to session " + std::to_string(session));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
}

TEST(Open, RefusesATreeThatAnotherTraces) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t other = ::fork();
    if (other == 0) {
        auto held = trace::Tracee::seize(victim.pid(), leader_of(victim.pid()));
        (void)!::write(ends[1], "r", 1);
        for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    expect_refused(SourceTree::open(victim.pid(), {}), Error::Kind::Invalid,
                   "traced by process " + std::to_string(other));
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
    EXPECT_EQ(victim.verdict(), "PASS");
}

TEST(Open, RefusesAThreadThatRunsByDeadlinesBeforeItStopsAnything) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        struct {
            std::uint32_t size, policy;
            std::uint64_t flags;
            std::int32_t nice;
            std::uint32_t priority;
            std::uint64_t runtime, deadline, period;
        } deadlines = {48, SCHED_DEADLINE, 0, 0, 0, 1'000'000, 100'000'000, 100'000'000};
        if (::syscall(SYS_sched_setattr, 0, &deadlines, 0) != 0) ::_exit(1);
        for (;;) ::pause();
    }
    while (::sched_getscheduler(child) != SCHED_DEADLINE) std::this_thread::yield();
    expect_refused(SourceTree::open(Pid{child}, {}), Error::Kind::Unsupported, "SCHED_DEADLINE");
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
}

TEST(Open, RefusesAChildThatItsParentTraces) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t parent = ::fork();
    if (parent == 0) {
        ::setsid();
        const pid_t child = ::fork();
        if (child == 0) {
            for (;;) ::pause();
        }
        if (::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) != 0) ::_exit(1);
        (void)!::write(ends[1], &child, sizeof(child));
        for (;;) ::pause();
    }
    pid_t child = 0;
    ASSERT_EQ(::read(ends[0], &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
    expect_refused(
        SourceTree::open(Pid{parent}, {}), Error::Kind::Invalid,
        "process " + std::to_string(child) + " is traced by process " + std::to_string(parent));
    for (const pid_t pid : {child, parent}) ::kill(pid, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    for (const int end : ends) ::close(end);
}

// A session of its own that has called `make` and waits.
pid_t start_maker(int (*make)()) {
    int ends[2];
    if (::pipe(ends) != 0) return -1;
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        leave_pipes_behind();
        ::close_range(static_cast<unsigned>(ends[1]) + 1, ~0U, 0);
        const int made = make();
        (void)!::write(ends[1], &made, sizeof(made));
        ::close(ends[0]);
        ::close(ends[1]);
        for (;;) ::pause();
    }
    int made = -1;
    EXPECT_EQ(::read(ends[0], &made, sizeof(made)), static_cast<ssize_t>(sizeof(made)));
    EXPECT_GE(made, 0);
    for (const int end : ends) ::close(end);
    return child;
}

void expect_maker_refused(int (*make)(), const std::string& words) {
    const pid_t child = start_maker(make);
    expect_refused(SourceTree::open(Pid{child}, {}), Error::Kind::Unsupported, words);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
}

TEST(Open, RefusesAPacketSocketWithARing) {
    const auto make = [] {
        const int fd = ::socket(AF_PACKET, SOCK_RAW, 0);
        const tpacket_req ring = {
            .tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2};
        return ::setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)) == 0 ? fd : -1;
    };
    expect_maker_refused(make, "a packet socket with a ring");
}

TEST(Open, RefusesAPidfdOfATaskOutsideOfTheTree) {
    expect_maker_refused(
        [] { return static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0)); },
        fmt::format("a pidfd of task {}, which is outside of the tree", ::getpid()));
}

TEST(Open, RefusesANetlinkProtocolThatKeepsMoreThanItShows) {
    expect_maker_refused([] { return ::socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); },
                         "a netlink socket of protocol 12");
}

TEST(Open, RefusesARingWhoseContextIsAnotherProcesss) {
    const auto make = [] {
        aio_context_t context = 0;
        if (::syscall(SYS_io_setup, 1, &context) != 0) return -1;
        const pid_t parent = ::getpid();
        if (::fork() == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::getppid() != parent) ::_exit(0);  // it was killed before that
            for (;;) ::pause();
        }
        return 0;
    };
    expect_maker_refused(make, "of an aio context of another process");
}

// With a child that uses its parent's memory until it ends.
struct SharingParent {
    static int child(void* self) {
        static_cast<void>(::usleep(static_cast<const SharingParent*>(self)->life));
        ::_exit(0);
    }
    SharingParent(int flags, useconds_t child_life) : life(child_life) {
        pid = ::fork();
        if (pid == 0) {
            ::setsid();
            leave_pipes_behind();
            ::clone(&child, stack + sizeof stack, CLONE_VM | flags | SIGCHLD, this);
            for (;;) ::pause();
        }
        const std::string children = fmt::format("/proc/{0}/task/{0}/children", pid);
        while (os::read_file(children).value_or("").empty()) ::usleep(100);
    }
    ~SharingParent() {
        ::kill(-pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
    alignas(16) char stack[64 << 10] = {};
    useconds_t life;
    pid_t pid = -1;
};

TEST(Open, WaitsUntilAChildOfVforkHasItsOwnMemory) {
    const SharingParent process(CLONE_VFORK, 300'000);
    auto tree = SourceTree::open(Pid{process.pid}, {});
    ASSERT_TRUE(tree) << tree.error().describe();
    auto frozen = tree->freeze();
    ASSERT_TRUE(frozen) << frozen.error().describe();
    const auto collected = tree->collect(*frozen);
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_EQ(collected->checkpoint.root().pid, Pid{process.pid});
}

TEST(Open, RefusesAProcessThatSharesItsParentsMemoryByName) {
    const SharingParent process(0, 100'000'000);
    expect_refused(SourceTree::open(Pid{process.pid}, {}), Error::Kind::Unsupported,
                   "shares the memory of its parent");
}

TEST(Skeleton, HasNoChildOfAProcessThatEndedMeanwhile) {
    const pid_t child = start_maker([] {
        if (::fork() != 0) return 0;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        for (;;) {
            const pid_t passing = ::fork();
            if (passing == 0 && ::fork() == 0) ::usleep(2000);
            if (passing == 0) ::_exit(0);
            ::usleep(500);
            while (::waitpid(-1, nullptr, WNOHANG) > 0) {
            }
        }
    });
    auto tree = SourceTree::open(Pid{child}, {});
    for (int look = 0; look < 100 && tree; ++look) {
        const auto skeleton = tree->skeleton();
        EXPECT_TRUE(skeleton) << skeleton.error().describe();
        if (!skeleton) break;
        std::set<Pid> seen = {Pid{}};
        for (const model::Process& process : skeleton->processes) {
            EXPECT_TRUE(seen.contains(process.parent)) << process.parent.value;
            seen.insert(process.pid);
        }
    }
    ::kill(child, SIGKILL);
    ASSERT_TRUE(tree) << tree.error().describe();
    ::waitpid(child, nullptr, 0);
}

// Frozen, the child cannot be collected for this reason. Ends it.
void expect_busy(pid_t child, const std::string& why) {
    auto tree = SourceTree::open(Pid{child}, {});
    if (!tree) ::kill(child, SIGKILL);
    ASSERT_TRUE(tree) << tree.error().describe();
    auto frozen = tree->freeze();
    ASSERT_TRUE(frozen) << frozen.error().describe();
    const auto collected = tree->collect(*frozen);
    ::kill(child, SIGKILL);
    ASSERT_TRUE(collected) << collected.error().describe();
    EXPECT_NE(collected->busy.find(why), std::string::npos);
    expect_ok(std::move(*frozen).thaw());
    ::waitpid(child, nullptr, 0);
}

TEST(Collect, WaitsForNetlinkMessagesThatWereNotRead) {
    const pid_t child = start_maker([] {
        const int fd = ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
        struct {
            nlmsghdr header;
            rtgenmsg body;
        } question = {};
        question.header.nlmsg_len = sizeof(question);
        question.header.nlmsg_type = RTM_GETLINK;
        question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
        return ::send(fd, &question, sizeof(question), 0) == sizeof(question) ? fd : -1;
    });
    expect_busy(child, "unread netlink messages");
}

TEST(Collect, WaitsForWhatATerminalHoldsUnread) {
    const pid_t child = start_maker([] {
        const int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY);
        // Becomes the controlling one.
        const int slave = ::unlockpt(master) == 0 ? ::open(::ptsname(master), O_RDWR) : -1;
        return ::write(slave, "text", 4) == 4 ? slave : -1;
    });
    expect_busy(child, "unread input or output");
}

TEST(Open, RefusesAControllingTerminalWhoseMasterIsElsewhereByName) {
    const int master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY);
    ASSERT_EQ(::unlockpt(master), 0);
    const auto control = [&] {
        ::close(::open(::ptsname(master), O_RDWR));
        ::close(master);
    };
    expect_refused(open_child(control), Error::Kind::Unsupported,
                   "whose master is outside of the tree");
    EXPECT_TRUE(open_child(control, {.files = {.shell_job = true}}));
    ::close(master);
}

// In an IPC namespace that we and the tree have in common.
TEST(Open, RefusesSystemVObjectsThatTheTreeUsesByName) {
    ASSERT_EQ(::unshare(CLONE_NEWIPC), 0);
    const int queue = ::msgget(IPC_PRIVATE, 0600);
    EXPECT_TRUE(open_child([] {})) << "somebody else's";
    const auto wait = [queue] {
        std::thread([queue] {
            long message[2] = {};
            ::msgrcv(queue, message, sizeof(long), 0, 0);
        }).detach();
        // Until it stands in the call.
        const auto waits = [](const auto& task) {
            const auto call = os::read_file(task.path().string() + "/syscall");
            return call && call->starts_with(std::to_string(SYS_msgrcv) + " ");
        };
        while (
            std::ranges::none_of(std::filesystem::directory_iterator("/proc/self/task"), waits)) {
        }
    };
    const std::string name = "System V message queue " + std::to_string(queue) + " of the host";
    expect_refused(open_child(wait), Error::Kind::Unsupported, name);
    const auto send = [queue] {
        const long message[2] = {1, 0};
        ::msgsnd(queue, message, 0, 0);
    };
    expect_refused(open_child(send), Error::Kind::Unsupported, name);
    EXPECT_TRUE(open_child([] {})) << "of a process that has ended";
    const auto raise = [] {
        sembuf up = {.sem_num = 1, .sem_op = 1, .sem_flg = 0};
        ::semop(::semget(IPC_PRIVATE, 2, 0600), &up, 1);
    };
    expect_refused(open_child(raise), Error::Kind::Unsupported, "System V semaphore set 0 of");
    expect_refused(open_child([] { std::ignore = ::shmget(IPC_PRIVATE, 4096, 0600); }),
                   Error::Kind::Unsupported, "System V shared memory 0 of the host");
}

TEST(Freeze, LeavesAStoppedProcessStoppedWhateverHappens) {
    VictimProcess victim("plain");
    ASSERT_TRUE(victim.started());
    ::kill(victim.pid().value, SIGSTOP);
    while (victim.state() != 'T') std::this_thread::yield();
    auto tree = SourceTree::open(victim.pid(), {});
    ASSERT_TRUE(tree) << tree.error().describe();
    ASSERT_TRUE(tree->make_userfaultfd(victim.pid()));
    for (const bool held : {false, true}) {
        auto frozen = tree->freeze();
        ASSERT_TRUE(frozen) << frozen.error().describe();
        const auto collected = tree->collect(*frozen);
        ASSERT_TRUE(collected) << collected.error().describe();
        ASSERT_TRUE(collected->checkpoint.root().stop.has_value());
        EXPECT_EQ(collected->checkpoint.root().stop->signal, SIGSTOP);
        if (held) expect_ok(frozen->hold());
        expect_ok(std::move(*frozen).thaw());
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        EXPECT_EQ(victim.state(), 'T');
    }
    ::kill(victim.pid().value, SIGCONT);
    EXPECT_EQ(victim.verdict(), "PASS");
}

}  // namespace
}  // namespace ferry::dump

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (std::getenv("FERRY_DEBUG") != nullptr) ferry::set_log(nullptr, ferry::LogLevel::Debug);
    return RUN_ALL_TESTS();
}
