// Victims that are taken apart and put together again by restore/ alone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <tuple>
#include <variant>

#include "snapshot.h"

namespace ferry::live {
namespace {

class Restored : public testing::TestWithParam<const char*> {};

TEST_P(Restored, TheVictimFindsEverythingAsItWas) {
    auto victim = Victim::start(GetParam());
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    const auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    const auto report = restore_snapshot(*snapshot);
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    victim->let_run();
    EXPECT_EQ(victim->verdict(), "PASS");
}

INSTANTIATE_TEST_SUITE_P(EveryVictim, Restored,
                         testing::Values("clocks", "credentials", "floating_point",
                                         "growing_memory", "many_threads", "rseq", "fork_storm",
                                         "plain", "spinning_vectors", "thread_storm", "writer"),
                         [](const auto& instance) { return std::string(instance.param); });

// How far a tree is brought before something happens to it.
enum class Phase { Staged, Filled, Activated };

Result<restore::StagedTree> bring_to(Phase phase, const Snapshot& snapshot) {
    auto tree = TRY(restore::StagedTree::create(snapshot.checkpoint, {}));
    if (phase == Phase::Staged) return tree;
    TRY(fill(tree, snapshot));
    if (phase == Phase::Filled) return tree;
    TRY(tree.activate(snapshot.checkpoint, snapshot.lookup()));
    return tree;
}

Snapshot snapshot_of(const char* name) {
    auto victim = Victim::start(name);
    EXPECT_TRUE(victim.has_value());
    Victim::let_run();
    auto snapshot = take_snapshot(victim->pid());
    EXPECT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    victim->forget();
    return std::move(*snapshot);
}

bool any_left(const Snapshot& snapshot) {
    return std::ranges::any_of(snapshot.checkpoint.processes, [](const model::Process& process) {
        return ::kill(process.pid.value, 0) == 0;
    });
}

class Abandoned : public testing::TestWithParam<std::tuple<const char*, Phase>> {};

TEST_P(Abandoned, ATreeLeavesNothingBehind) {
    const auto [name, phase] = GetParam();
    const Snapshot snapshot = snapshot_of(name);
    {
        const auto tree = bring_to(phase, snapshot);
        ASSERT_TRUE(tree.has_value()) << tree.error().describe();
        EXPECT_TRUE(any_left(snapshot));
    }
    EXPECT_FALSE(any_left(snapshot));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

TEST_P(Abandoned, ATreeDiesWithItsHost) {
    const auto [name, phase] = GetParam();
    const Snapshot snapshot = snapshot_of(name);
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t host = ::fork();
    if (host == 0) {
        const auto tree = bring_to(phase, snapshot);
        const char answer = tree ? 'y' : 'n';
        if (::write(ready[1], &answer, 1) == 1) ::pause();
        ::_exit(1);
    }
    char answer = 0;
    ASSERT_EQ(::read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    ::kill(host, SIGKILL);
    ::waitpid(host, nullptr, 0);
    for (int i = 0; i < 3000 && any_left(snapshot); ++i) ::usleep(1000);
    EXPECT_FALSE(any_left(snapshot));
    ::close(ready[0]);
    ::close(ready[1]);
}

INSTANTIATE_TEST_SUITE_P(InEveryPhase, Abandoned,
                         testing::Combine(testing::Values("family", "many_threads"),
                                          testing::Values(Phase::Staged, Phase::Filled,
                                                          Phase::Activated)));

TEST(StagedTree, RefusesAPidThatIsInUseByName) {
    Snapshot snapshot = snapshot_of("plain");
    const Pid self{::getpid()};
    model::Process& root = snapshot.checkpoint.processes.front();
    root.pid = root.group = root.session = self;
    root.threads.front().tid = leader_of(self);
    const auto tree = restore::StagedTree::create(snapshot.checkpoint, {});
    ASSERT_FALSE(tree.has_value());
    EXPECT_EQ(tree.error().kind(), Error::Kind::Invalid);
    EXPECT_NE(tree.error().message().find("is in use by \"restore_live_te\""), std::string::npos)
        << tree.error().message();
}

TEST(StagedTree, RefusesAnotherKernelInOneLine) {
    Snapshot snapshot = snapshot_of("plain");
    snapshot.checkpoint.vdso_hash += 1;
    snapshot.checkpoint.kernel_release = "4.19.0-strange";
    const auto tree = restore::StagedTree::create(snapshot.checkpoint, {});
    ASSERT_FALSE(tree.has_value());
    EXPECT_EQ(tree.error().kind(), Error::Kind::Unsupported);
    EXPECT_EQ(tree.error().message(),
              "the tree comes from a host with another vdso (kernel 4.19.0-strange)");
    EXPECT_FALSE(any_left(snapshot));
}

TEST(StagedTree, RefusesAMappedFileThatIsNotThere) {
    Snapshot snapshot = snapshot_of("plain");
    for (model::OpenFile& file : snapshot.checkpoint.files) {
        auto* regular = std::get_if<model::RegularFile>(&file.body);
        if (regular != nullptr && regular->path.find("libc") != std::string::npos) {
            regular->path = "/nowhere/libc.so.6";
        }
    }
    const auto tree = restore::StagedTree::create(snapshot.checkpoint, {});
    ASSERT_FALSE(tree.has_value());
    EXPECT_EQ(tree.error().kind(), Error::Kind::Invalid);
    EXPECT_NE(tree.error().message().find("/nowhere/libc.so.6"), std::string::npos);
    EXPECT_FALSE(any_left(snapshot));
}

// What a source does between two skeletons: threads and mappings come, go and change.
TEST(StagedTree, FollowsASourceThatGoesOn) {
    auto victim = Victim::start("many_threads");
    ASSERT_TRUE(victim.has_value());
    Victim::let_run();
    const auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    model::Checkpoint earlier = snapshot->checkpoint;
    model::Process& process = earlier.processes.front();
    // Not near the end of the ids, where there may be none that much higher.
    const pid_t last = process.threads.back().tid.value;
    const Tid gone_meanwhile{last > 10000 ? last - 5000 : last + 1000};
    process.threads.resize(100);
    process.threads.push_back(process.threads.back());
    process.threads.back().tid = gone_meanwhile;
    auto& vmas = process.address_space.vmas;
    std::erase_if(vmas, [n = 0](const model::Vma& vma) mutable {
        return vma.kind == model::VmaKind::Anonymous && !vma.grows_down && ++n % 3 == 0;
    });
    for (model::Vma& vma : vmas) {
        if (vma.kind == model::VmaKind::FilePrivate) vma.protection = PROT_NONE;
    }
    model::Vma extra;
    extra.range = {{0x10000000}, {0x10400000}};
    extra.protection = PROT_READ | PROT_WRITE;
    vmas.insert(vmas.begin(), extra);

    auto tree = restore::StagedTree::create(earlier, {});
    ASSERT_TRUE(tree.has_value()) << tree.error().describe();
    const std::vector<std::byte> noise(1 << 20, std::byte{0x55});
    EXPECT_TRUE(tree->write_pages(process.pid, {0x10000000}, noise).has_value());
    const auto updated = tree->update(snapshot->checkpoint);
    ASSERT_TRUE(updated.has_value()) << updated.error().describe();
    const auto filled = fill(*tree, *snapshot);
    ASSERT_TRUE(filled.has_value()) << filled.error().describe();
    const auto report = tree->activate(snapshot->checkpoint, snapshot->lookup());
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    ASSERT_TRUE(std::move(*tree).run().has_value());
    Victim::let_run();
    EXPECT_EQ(victim->verdict(), "PASS");
}

TEST(StagedTree, DropsPagesThatAreGoneAtTheSource) {
    auto victim = Victim::start("growing_memory");
    ASSERT_TRUE(victim.has_value());
    const auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    const Pid pid = victim->pid();
    auto tree = restore::StagedTree::create(snapshot->checkpoint, {});
    ASSERT_TRUE(tree.has_value()) << tree.error().describe();
    std::vector<AddrRange> present;
    for (const Content& content : snapshot->pages.at(pid.value)) present.push_back(content.range);
    // Noise everywhere first, as if the source had had it in an earlier round.
    const std::vector<std::byte> noise(1 << 16, std::byte{0x55});
    for (const model::Vma& vma : snapshot->checkpoint.root().address_space.vmas) {
        if (vma.kind != model::VmaKind::Anonymous) continue;
        for (RemoteAddr at = vma.range.start; at < vma.range.end; at = at + noise.size()) {
            const auto size = std::min<std::uint64_t>(noise.size(), vma.range.end - at);
            ASSERT_TRUE(tree->write_pages(pid, at, std::span(noise).first(size)).has_value());
        }
    }
    ASSERT_TRUE(tree->keep_pages(pid, present).has_value());
    ASSERT_TRUE(fill(*tree, *snapshot).has_value());
    ASSERT_TRUE(tree->activate(snapshot->checkpoint, snapshot->lookup()).has_value());
    ASSERT_TRUE(std::move(*tree).run().has_value());
    EXPECT_EQ(victim->verdict(), "PASS");
}

// The first thread that runs takes the signal, while the others are still held.
TEST(StagedTree, MayEndTheMomentItRuns) {
    auto victim = Victim::start("many_threads");
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    model::SignalInfo signal = {};
    signal[0] = std::byte{SIGUSR1};  // si_signo
    snapshot->checkpoint.processes.front().pending.push_back(signal);
    const auto report = restore_snapshot(*snapshot);
    EXPECT_TRUE(report.has_value()) << report.error().describe();
    int status = 0;
    ASSERT_EQ(::waitpid(victim->pid().value, &status, 0), victim->pid().value);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1) << status;
    victim->forget();
}

TEST(StagedTree, CanBeLeftStopped) {
    auto victim = Victim::start("plain");
    ASSERT_TRUE(victim.has_value());
    const auto snapshot = take_snapshot(victim->pid());
    ASSERT_TRUE(snapshot.has_value()) << snapshot.error().describe();
    auto tree = bring_to(Phase::Activated, *snapshot);
    ASSERT_TRUE(tree.has_value()) << tree.error().describe();
    ASSERT_TRUE(std::move(*tree).run(restore::RunMode::Stopped).has_value());
    int status = 0;
    EXPECT_EQ(::waitpid(victim->pid().value, &status, WUNTRACED), victim->pid().value);
    EXPECT_TRUE(WIFSTOPPED(status));
    ::kill(victim->pid().value, SIGCONT);
    EXPECT_EQ(victim->verdict(), "PASS");
}

}  // namespace
}  // namespace ferry::live
