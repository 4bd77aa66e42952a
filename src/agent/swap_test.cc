// Services that change places: two agents, one decision (docs/decisions/0043).
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "agent/group_decision.h"
#include "agent/process_table.h"
#include "agent/session_store.h"
#include "agent/test_daemon.h"
#include "net/pki.h"

namespace ferry::agent {
namespace {

using migrate::SessionState;

class SwapTest : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string pki = directory_.path() + "/pki";
        ASSERT_TRUE(net::init_pki(pki, net::Overwrite::No));
        for (const char* host : {"alpha", "beta"}) {
            ASSERT_TRUE(net::issue_certificate(pki, {.name = host, .also = {"127.0.0.1"}},
                                               net::Overwrite::Yes));
        }
        alpha_ = std::make_unique<TestDaemon>(directory_.path(), "alpha", free_port());
        beta_ = std::make_unique<TestDaemon>(directory_.path(), "beta", free_port());
    }
    std::string run_service(const std::string& script) {
        services_.push_back(std::make_unique<NamedProcess>(directory_.path(), script));
        return services_.back()->text();
    }
    using Ends = Result<std::vector<SessionInfo>>;
    // Alpha's services and beta's, each named by its script, change places; `then` runs meanwhile.
    template <class Then>
    Ends swap(const std::vector<std::string>& here, const std::vector<std::string>& there,
              Then then) {
        MigrateOrder order;
        order.destination = fmt::format("127.0.0.1:{}", beta_->port());
        for (const std::string& script : here) order.others.push_back(run_service(script));
        for (const std::string& script : there) order.swap.push_back(run_service(script));
        order.service = order.others.front();
        order.others.erase(order.others.begin());
        auto client = alpha_->control();
        auto swapping = std::async(std::launch::async, [&] {
            return client.migrate_group(
                order, {.started = [](const SessionInfo&) {},
                        .progress = [](const std::string&, const migrate::Progress&) {}});
        });
        then();
        return swapping.get();
    }
    static void expect_ends(const Ends& ends, std::size_t count, SessionState state) {
        ASSERT_TRUE(ends) << ends.error().message();
        ASSERT_EQ(ends->size(), count);
        for (const SessionInfo& info : *ends) {
            EXPECT_EQ(info.state, state) << info.service << ": " << info.error;
            EXPECT_EQ(info.group, ends->front().group);
        }
    }
    // Of all sessions that this agent has had a half of.
    static void expect_all_end_in(const TestDaemon& daemon, std::size_t count,
                                  const std::vector<SessionState>& states) {
        std::vector<SessionInfo> all;
        EXPECT_TRUE(eventually([&] {
            const auto history = daemon.control().history(0);
            const auto status = daemon.control().status();
            if (!history || !status || !status->sessions.empty()) return false;
            all = *history;
            return all.size() == count;
        })) << all.size();
        for (const SessionInfo& info : all) {
            EXPECT_NE(std::ranges::find(states, info.state), states.end())
                << migrate::name_of(info.state) << " " << info.error;
        }
    }
    void expect_all_aborted(std::size_t count) {
        expect_all_end_in(*alpha_, count, {SessionState::Aborted});
        expect_all_end_in(*beta_, count, {SessionState::Aborted});
    }
    void expect_all_crossed(std::size_t count) {
        for (const TestDaemon* daemon : {alpha_.get(), beta_.get()}) {
            expect_all_end_in(*daemon, count, {SessionState::Done, SessionState::Running});
        }
    }
    // Beta's service has voted, and nobody has decided.
    [[nodiscard]] bool has_voted_at_beta() const {
        const auto status = beta_->control().status();
        return status && std::ranges::any_of(status->sessions, [](const SessionInfo& info) {
                   return info.role == Role::Source && info.state == SessionState::Ready;
               });
    }
    void await_vote_at_beta() {
        CHECK(eventually([&] { return has_voted_at_beta(); }));
    }
    // Which alpha's members wait for.
    void await_both_at_beta() {
        CHECK(eventually([&] {
            const auto status = beta_->control().status();
            return status && status->sessions.size() == 2;
        }));
    }
    static bool is_stopped(Pid pid) {
        const auto all = all_processes();
        return all && all->contains(pid.value) && all->at(pid.value).state == 'T';
    }

    net::TestDirectory directory_;
    std::unique_ptr<TestDaemon> alpha_, beta_;
    std::vector<std::unique_ptr<NamedProcess>> services_;
};

TEST_F(SwapTest, BothDirectionsCrossByOneDecision) {
    const Ends one = swap({"rehearse-ok"}, {"rehearse-ok2"}, [] {});
    expect_ends(one, 2, SessionState::Done);
    if (HasFatalFailure()) return;
    EXPECT_EQ(one->at(0).destination, "beta");
    EXPECT_EQ(one->at(1).source, "beta");
    EXPECT_EQ(one->at(1).destination, "alpha");
    EXPECT_EQ(one->at(1).service, services_.back()->text());
    EXPECT_TRUE(is_session_id(one->at(0).group));
    expect_all_crossed(2);
    expect_ends(swap({"rehearse-ok", "rehearse-busy"}, {"rehearse-busy", "rehearse-ok2"}, [] {}), 4,
                SessionState::Done);
    expect_all_crossed(6);
}

TEST_F(SwapTest, WhatDoesNotGoKeepsBothDirections) {
    std::size_t count = 0;
    for (const char* script : {"rehearse-refuse", "rehearse-die"}) {
        for (const bool from_alpha : {true, false}) {
            const std::string here = from_alpha ? script : "rehearse-ok";
            const std::string there = from_alpha ? "rehearse-ok" : script;
            const Ends ends = swap({here}, {there}, [] {});
            expect_ends(ends, 2, SessionState::Aborted);
            if (HasFatalFailure()) return;
            const std::string& why = ends->at(from_alpha ? 0 : 1).error;
            const std::string& other = ends->at(from_alpha ? 1 : 0).error;
            EXPECT_NE(other.find("of its group: " + why), std::string::npos) << other;
            expect_all_aborted(count += 2);
        }
    }
}

TEST_F(SwapTest, WhatCannotBeginKeepsBothDirections) {
    MigrateOrder order = {.service = run_service("rehearse-ok"),
                          .swap = {"no-such-thing"},
                          .destination = fmt::format("127.0.0.1:{}", beta_->port())};
    const auto refused = alpha_->control().migrate_group(order, {});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message().find("no container or process named"), std::string::npos)
        << refused.error().message();
    expect_all_end_in(*beta_, 1, {SessionState::Aborted});
}

TEST_F(SwapTest, AnAbortAtEitherHostIsOneOfBothDirections) {
    const Ends early = swap({"rehearse-wait"}, {"rehearse-ok"}, [&] {
        await_both_at_beta();
        EXPECT_TRUE(alpha_->control().abort(""));
    });
    expect_ends(early, 2, SessionState::Aborted);
    const Ends voted = swap({"rehearse-mute"}, {"rehearse-ok"}, [&] {
        await_vote_at_beta();
        EXPECT_TRUE(alpha_->control().abort(""));
    });
    expect_ends(voted, 2, SessionState::Aborted);
    // There it has to be asked what is decided.
    const Ends there = swap({"rehearse-mute"}, {"rehearse-ok"}, [&] {
        await_vote_at_beta();
        EXPECT_TRUE(beta_->control().abort(""));
    });
    expect_ends(there, 2, SessionState::Aborted);
    expect_all_aborted(6);
}

TEST_F(SwapTest, AnAgentThatDiesBeforeTheDecisionAbortsBothDirections) {
    for (const bool is_alpha : {true, false}) {
        TestDaemon& dying = is_alpha ? *alpha_ : *beta_;
        std::ignore = swap({"rehearse-mute"}, {"rehearse-ok"}, [&] {
            await_vote_at_beta();
            EXPECT_EQ(dying.end_with(SIGKILL), 128 + SIGKILL);
        });
        dying.start();
        expect_all_aborted(is_alpha ? 2 : 4);
    }
}

TEST_F(SwapTest, WhoDiesAfterTheDecisionHasCommitted) {
    const Ends there = swap({"rehearse-ok"}, {"rehearse-late"}, [] {});
    ASSERT_TRUE(there) << there.error().message();
    EXPECT_EQ(there->at(0).state, SessionState::Done) << there->at(0).error;
    // Its agent has to ask first.
    EXPECT_EQ(there->at(1).state, SessionState::Ready) << there->at(1).error;
    expect_all_crossed(2);
    const Ends here = swap({"rehearse-late"}, {"rehearse-ok"}, [] {});
    ASSERT_TRUE(here) << here.error().message();
    EXPECT_EQ(here->at(1).state, SessionState::Done) << here->at(1).error;
    expect_all_crossed(4);
}

TEST_F(SwapTest, WhoseDestinationDiesAfterTheDecisionFollowsTheOthers) {
    expect_ends(swap({"rehearse-ok"}, {"rehearse-gone"}, [] {}), 2, SessionState::Done);
    expect_ends(swap({"rehearse-gone"}, {"rehearse-ok"}, [] {}), 2, SessionState::Done);
}

// As after a SIGKILL of everything of Ferry's at beta, after its vote.
TEST_F(SwapTest, TheNextAgentAsksForTheDecision) {
    EXPECT_EQ(beta_->end_with(SIGTERM), 0);
    const auto theirs = SessionStore::open(alpha_->state() + "/sessions");
    const auto ours = SessionStore::open(beta_->state() + "/sessions");
    ASSERT_TRUE(theirs && ours);
    for (const bool committed : {false, true}) {
        run_service("rehearse-ok");
        const Pid root = services_.back()->pid();
        ASSERT_EQ(::kill(root.value, SIGSTOP), 0);
        ASSERT_TRUE(eventually([&] { return is_stopped(root); }));
        SessionInfo info;
        info.id = *new_session_id();
        info.group = *new_session_id();
        info.decided_at_peer = true;
        info.service = "x";
        info.source = "beta";
        info.destination = "alpha";
        info.peer = {.host = "127.0.0.1", .port = alpha_->port()};
        info.root = {.pid = root, .started = *start_of(root)};
        info.processes = {info.root};
        info.state = SessionState::Ready;
        ASSERT_TRUE(ours->write(info));
        // Its other half lives.
        const auto lock = theirs->try_lock(info.id);
        ASSERT_TRUE(lock && *lock);
        SessionInfo half = info;
        half.role = Role::Destination;
        half.decided_at_peer = false;
        ASSERT_TRUE(theirs->write(half));
        const GroupVote vote(theirs->directory(), info.group);
        if (committed) {
            ASSERT_TRUE(vote.propose(GroupDecision::Commit));
        }
        beta_->start();
        if (committed) {
            EXPECT_TRUE(eventually([&] {
                const auto now = ours->read(info.id);
                return now && *now && (*now)->state == SessionState::Committed;
            }));
            EXPECT_TRUE(is_stopped(root));
            half.state = SessionState::Running;
            half.released = true;
            ASSERT_TRUE(theirs->write(half));
        }
        EXPECT_TRUE(eventually([&] { return beta_->last().id == info.id; }));
        EXPECT_EQ(beta_->last().state, committed ? SessionState::Done : SessionState::Aborted);
        EXPECT_TRUE(eventually([&] { return !is_stopped(root); }));
        EXPECT_EQ(*vote.read(), committed ? GroupDecision::Commit : GroupDecision::Abort);
        EXPECT_EQ(start_of(root).has_value() && all_processes()->at(root.value).state != 'Z',
                  !committed);
        EXPECT_EQ(beta_->end_with(SIGTERM), 0);
    }
}

}  // namespace
}  // namespace ferry::agent
