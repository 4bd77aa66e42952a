// Two containers that talk to each other change places in one moment, or stay: whatever is killed
// or cut, and whenever (docs/decisions/0043). "web" leaves platform 1, whose agent is asked and
// decides; "talker" comes from platform 2.
#include <signal.h>
#include <sys/syscall.h>

#include "container_fixture.h"
#include "eventually.h"
#include "talker.h"
#include "traced_worker.h"

namespace ferry::lab {
namespace {

class ContainerSwapTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        auto load = start_redis(8 * 1024);
        ASSERT_OK(load);
        load_ = std::move(*load);
        talker_ = make_container(talker_plan(), talker("10.77.1.101", "/data/said"));
        ASSERT_NE(talker_, nullptr);
        const auto away =
            platform(0).run_ferry({"migrate", "talker", "--to", platform(1).address()}, 60s);
        ASSERT_OK(away);
        ASSERT_EQ(away->status, 0) << away->err;
        ASSERT_OK(talker_->follow_to(platform(1).host()));
        expect_they_go_on();
    }
    void TearDown() override {
        web_worker_.reset();
        talker_worker_.reset();
        load_.reset();
        talker_.reset();
        ContainerCrossingTest::TearDown();
    }

    void expect_they_go_on() {
        expect_talking(storage() + "/talker/rootfs/data/said");
        expect_goes_on(*load_);
    }
    template <class F>
    static bool eventually(F what) {
        return ferry::lab::eventually(what, 90s);
    }
    bool runs_at(std::size_t where, const std::string& name) {
        const auto listed = runc(platform(where).host(), {"list"}, 10s);
        if (!listed) return false;
        const auto at = listed->out.find("\n" + name);
        return at != std::string::npos &&
               listed->out.find("running", at) < listed->out.find('\n', at + 1);
    }
    // Each runs at one platform alone, and works.
    void expect_at(std::size_t web, std::size_t talker) {
        for (const auto& [name, where] : {std::pair("web", web), std::pair("talker", talker)}) {
            EXPECT_TRUE(eventually([&] {
                return runs_at(where, name) && !runs_at(1 - where, name);
            })) << name
                << "\n"
                << logs();
        }
        ASSERT_OK(container_->follow_to(platform(web).host()));
        ASSERT_OK(talker_->follow_to(platform(talker).host()));
        expect_they_go_on();
    }
    void expect_both_stayed() { expect_at(0, 1); }
    void expect_both_crossed() { expect_at(1, 0); }
    [[nodiscard]] std::string logs() { return platform(0).agent_log() + platform(1).agent_log(); }

    void begin() {
        os::Launch launch = platform(0).host().launch(platform(0).ferry(
            {"migrate", "web", "--swap", "talker", "--to", platform(1).address()}));
        launch.stderr_fd = STDERR_FILENO;
        auto migration = os::ChildProcess::start(launch);
        ASSERT_OK(migration);
        migration_ = std::move(*migration);
    }
    int end() {
        const auto status = migration_.wait(120s);
        EXPECT_OK(status);
        return status && *status ? **status : -1;
    }
    // The worker of the service's source.
    void trace(std::optional<TracedWorker>& worker, std::size_t where, const std::string& service) {
        worker.emplace();
        ASSERT_TRUE(eventually([&] {
            const auto session = session_of(platform(where), service);
            return session && session->worker != 0 && worker->seize(session->worker);
        })) << logs();
    }
    // From here on its tree stands still until it has heard the decision.
    static void run_until_held(TracedWorker& worker) {
        ASSERT_TRUE(worker.run_until([](const SystemCall& call) {
            return call.is_over && call.number == SYS_pidfd_send_signal &&
                   call.arguments[1] == SIGSTOP;
        }));
    }
    static void run_until_recorded(TracedWorker& worker) {
        ASSERT_TRUE(worker.run_until([](const SystemCall& call) {
            return call.is_over && (call.number == SYS_renameat || call.number == SYS_renameat2 ||
                                    call.number == SYS_rename);
        }));
    }
    [[nodiscard]] std::string state_at(std::size_t where, const std::string& service) {
        const auto session = session_of(platform(where), service);
        return session ? session->state : std::string();
    }
    // The talker has voted and web has not: its worker stands still in its freeze.
    void stop_before_the_decision() {
        begin();
        trace(web_worker_, 0, "web");
        if (HasFatalFailure()) return;
        run_until_held(*web_worker_);
        if (HasFatalFailure()) return;
        ASSERT_TRUE(eventually([&] { return state_at(1, "talker") == "ready"; })) << logs();
        // It is recorded before it is said.
        std::this_thread::sleep_for(1s);
    }
    void expect_stands_still(std::size_t where, const Container& container) {
        const auto status = platform(where).host().run(
            {"cat", fmt::format("/proc/{}/status", container.init_pid())}, 5s);
        ASSERT_OK(status);
        EXPECT_THAT(status->out, testing::HasSubstr("(tracing stop)"));
    }
    std::string decision() {
        std::error_code ignored;
        const auto journal =
            platform(0).host().path(std::string(kFerryDirectory) + "/state/sessions");
        for (const auto& entry : std::filesystem::directory_iterator(journal, ignored)) {
            if (entry.path().extension() == ".decision") {
                return std::filesystem::read_symlink(entry.path(), ignored);
            }
        }
        return {};
    }
    void do_at(std::size_t where, const std::string& command) {
        ASSERT_OK(platform(where).host().run_checked({"sh", "-c", command}, 5s));
    }
    void signal_agent(std::size_t where, const std::string& signal) {
        do_at(where, "kill -" + signal + " $(pgrep -o -x ferryd)");
    }
    void cut_link() {
        std::ofstream(directory_ + "/cut") << fmt::format(
            "table ip cut {{\n"
            "  chain out {{ type filter hook output priority 0; ip daddr {0} drop; }}\n"
            "  chain in {{ type filter hook input priority 0; ip saddr {0} drop; }}\n"
            "}}\n",
            platform(0).address());
        do_at(1, "nft -f " + directory_ + "/cut");
    }
    void mend_link() { do_at(1, "nft delete table ip cut"); }

    std::unique_ptr<Load> load_;
    std::unique_ptr<Container> talker_;
    os::ChildProcess migration_;
    std::optional<TracedWorker> web_worker_, talker_worker_;
};

TEST_F(ContainerSwapTest, BothCrossInOneCutOver) {
    stop_before_the_decision();
    if (HasFatalFailure()) return;
    // Both stand still now.
    EXPECT_EQ(decision(), "");
    expect_stands_still(0, *container_);
    expect_stands_still(1, *talker_);
    web_worker_.reset();
    EXPECT_EQ(end(), 0);
    expect_both_crossed();
    // And back, by the same agent.
    const auto back = platform(0).run_ferry(
        {"migrate", "talker", "--swap", "web", "--to", platform(1).address(), "--json"}, 120s);
    ASSERT_OK(back);
    ASSERT_EQ(back->status, 0) << back->err << back->out;
    const auto json = nlohmann::json::parse(back->out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << back->out;
    ASSERT_EQ(json["members"].size(), 2u);
    for (const auto& member : json["members"]) EXPECT_EQ(member["state"], "done");
    expect_both_stayed();
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerSwapTest, AWorkerThatIsKilledBeforeTheDecisionKeepsBoth) {
    for (const std::size_t where : {0u, 1u}) {
        SCOPED_TRACE(where);
        begin();
        std::optional<TracedWorker> worker;
        trace(worker, where, where == 0 ? "web" : "talker");
        if (HasFatalFailure()) return;
        run_until_held(*worker);
        if (HasFatalFailure()) return;
        worker->kill_with_guardians();
        EXPECT_EQ(end(), 1);
        expect_both_stayed();
    }
    // It has noted its vote, and not said it.
    begin();
    trace(talker_worker_, 1, "talker");
    if (HasFatalFailure()) return;
    run_until_held(*talker_worker_);
    run_until_recorded(*talker_worker_);
    if (HasFatalFailure()) return;
    EXPECT_EQ(state_at(1, "talker"), "ready");
    talker_worker_->kill_with_guardians();
    EXPECT_NE(end(), 0);
    expect_both_stayed();
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerSwapTest, AWorkerThatIsKilledAfterTheDecisionHasCommitted) {
    stop_before_the_decision();
    if (HasFatalFailure()) return;
    // It has voted, and will not hear of the decision.
    trace(talker_worker_, 1, "talker");
    if (HasFatalFailure()) return;
    web_worker_.reset();
    EXPECT_TRUE(eventually([&] { return decision() == "commit"; })) << logs();
    talker_worker_->kill_with_guardians();
    end();
    expect_both_crossed();
    // Who would have removed it there was killed.
    EXPECT_OK(runc(platform(1).host(), {"delete", "--force", "talker"}, 10s));
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerSwapTest, AnAgentThatIsKilledBeforeTheDecisionKeepsBoth) {
    for (const std::size_t where : {0u, 1u}) {
        SCOPED_TRACE(where);
        stop_before_the_decision();
        if (HasFatalFailure()) return;
        signal_agent(where, "KILL");
        // The other one's death is heard of, and the one that decides has no agent any more.
        if (where == 1) {
            EXPECT_TRUE(eventually([&] { return decision() == "abort"; })) << logs();
        }
        web_worker_.reset();
        EXPECT_NE(end(), 0);
        ASSERT_OK(platform(where).restart_agent());
        expect_both_stayed();
    }
    ferry::lab::expect_nothing_lost(*load_);
}

// The talker's worker has not heard of it, and asks until the next agent answers.
TEST_F(ContainerSwapTest, AnAgentThatIsKilledAfterTheDecisionHasCommitted) {
    stop_before_the_decision();
    if (HasFatalFailure()) return;
    signal_agent(1, "STOP");
    web_worker_.reset();
    EXPECT_TRUE(eventually([&] { return decision() == "commit"; })) << logs();
    signal_agent(0, "KILL");
    signal_agent(1, "CONT");
    EXPECT_NE(end(), 0);
    ASSERT_OK(platform(0).restart_agent());
    expect_both_crossed();
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerSwapTest, ALinkThatIsCutBeforeTheDecisionKeepsBoth) {
    begin();
    trace(talker_worker_, 1, "talker");
    if (HasFatalFailure()) return;
    run_until_held(*talker_worker_);
    if (HasFatalFailure()) return;
    cut_link();
    talker_worker_.reset();
    // Who decides hears no vote, and finds the link cut.
    EXPECT_TRUE(eventually([&] { return decision() == "abort"; })) << logs();
    mend_link();
    EXPECT_NE(end(), 0);
    expect_both_stayed();
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerSwapTest, ALinkThatIsCutAfterTheVotesCostsTimeOnly) {
    stop_before_the_decision();
    if (HasFatalFailure()) return;
    cut_link();
    web_worker_.reset();
    EXPECT_TRUE(eventually([&] { return decision() == "commit"; })) << logs();
    // Longer than anybody waits for a word before asking.
    std::this_thread::sleep_for(6s);
    mend_link();
    end();
    expect_both_crossed();
    ferry::lab::expect_nothing_lost(*load_);
}

}  // namespace
}  // namespace ferry::lab
