// Two containers that talk to each other cross together, in one moment, or not at all.
#include <signal.h>

#include "container_fixture.h"
#include "os/process.h"
#include "talker.h"
#include "traced_worker.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class ContainerGroupTest : public ContainerCrossingTest {
  protected:
    void TearDown() override {
        talker_.reset();
        ContainerCrossingTest::TearDown();
    }

    void start(std::uint64_t kib = 64 * 1024) {
        auto load = start_redis(kib);
        ASSERT_OK(load);
        load_ = std::move(*load);
        talker_ = make_container(talker_plan(), talker("10.77.1.101", "/data/said"));
        ASSERT_NE(talker_, nullptr);
        expect_talk_goes_on();
    }

    void expect_talk_goes_on() { expect_talking(storage() + "/talker/rootfs/data/said"); }

    [[nodiscard]] std::vector<std::string> command(std::size_t from) const {
        return {"migrate", "web", "talker", "--to", lab_->platform(1 - from).address(), "--json"};
    }
    void cross_together(std::size_t from) {
        const auto result = platform(from).run_ferry(command(from), 120s);
        ASSERT_OK(result);
        ASSERT_EQ(result->status, 0) << result->err << result->out << "\n"
                                     << platform(0).agent_log() << platform(1).agent_log();
        const auto json = nlohmann::json::parse(result->out, nullptr, false);
        ASSERT_TRUE(json.is_object()) << result->out;
        EXPECT_EQ(json["outcome"], "done");
        EXPECT_GT(json["frozen_ms"].get<double>(), 0);
        ASSERT_EQ(json["members"].size(), 2u);
        for (const auto& member : json["members"]) {
            EXPECT_EQ(member["state"], "done");
            // Of the freeze of all.
            EXPECT_GT(member["predicted_downtime_ms"].get<double>(), 0);
            EXPECT_EQ(member["predicted_downtime_ms"], json["members"][0]["predicted_downtime_ms"]);
        }
        ASSERT_OK(container_->follow_to(platform(1 - from).host()));
        ASSERT_OK(talker_->follow_to(platform(1 - from).host()));
    }
    void expect_both_at_home() {
        EXPECT_EQ(container_->status().value_or("?"), "running");
        EXPECT_EQ(talker_->status().value_or("?"), "running");
        expect_talk_goes_on();
        expect_goes_on(*load_);
    }

    std::unique_ptr<Load> load_;
    std::unique_ptr<Container> talker_;
};

TEST_F(ContainerGroupTest, TheyCrossTogetherAndTheirConnectionGoesOn) {
    start();
    if (HasFatalFailure()) return;
    for (const std::size_t from : {0u, 1u}) {
        cross_together(from);
        if (HasFatalFailure()) return;
        expect_talk_goes_on();
        EXPECT_EQ(load_->failure(), std::nullopt);
    }
    ferry::lab::expect_nothing_lost(*load_);
}

TEST_F(ContainerGroupTest, TwoThatTalkChangePlaces) {
    start();
    if (HasFatalFailure()) return;
    const auto away =
        platform(0).run_ferry({"migrate", "talker", "--to", platform(1).address()}, 60s);
    ASSERT_OK(away);
    ASSERT_EQ(away->status, 0) << away->err;
    const auto swapped = platform(0).run_ferry(
        {"migrate", "web", "--swap", "talker", "--to", platform(1).address(), "--json"}, 120s);
    ASSERT_OK(swapped);
    ASSERT_EQ(swapped->status, 0) << swapped->err << swapped->out;
    ASSERT_OK(container_->follow_to(platform(1).host()));
    EXPECT_EQ(talker_->status().value_or("?"), "running");
    expect_talk_goes_on();
    EXPECT_EQ(load_->failure(), std::nullopt);
}

TEST_F(ContainerGroupTest, WhereOneIsRefusedAllStay) {
    start();
    if (HasFatalFailure()) return;
    const std::string taken = std::string(kRuncRoot) + "/talker";
    ASSERT_OK(platform(1).host().run_checked({"mkdir", "-p", taken}, 5s));
    const auto refused =
        platform(0).run_ferry({"migrate", "web", "talker", "--to", platform(1).address()}, 60s);
    ASSERT_OK(refused);
    EXPECT_EQ(refused->status, 1);
    EXPECT_THAT(refused->err, HasSubstr("web runs on at"));
    EXPECT_THAT(refused->err, HasSubstr("talker of its group: "));
    EXPECT_THAT(refused->err, HasSubstr("talker runs on at"));
    ASSERT_OK(platform(1).host().run_checked({"rmdir", taken}, 5s));
    EXPECT_EQ(traces(), "");
    expect_both_at_home();
}

TEST_F(ContainerGroupTest, WhoeverIsKilledAllGoOnWhereTheyWere) {
    start();
    if (HasFatalFailure()) return;
    const std::string worker = "kill -9 $(pgrep -P $(pgrep -o -x ferryd) | head -n 1)";
    const std::string agent = "kill -9 $(pgrep -o -x ferryd)";
    const std::pair<std::size_t, std::string> victims[] = {
        {0, worker}, {1, worker}, {0, agent}, {1, agent}};
    for (const auto& [where, what] : victims) {
        auto migration =
            os::ChildProcess::start(platform(0).host().launch(platform(0).ferry(command(0))));
        ASSERT_OK(migration);
        for (int i = 0; i < 2000 && traces().empty(); ++i) std::this_thread::sleep_for(5ms);
        ASSERT_OK(platform(where).host().run_checked({"sh", "-c", what}, 5s));
        const auto status = migration->wait(60s);
        ASSERT_OK(status);
        EXPECT_NE(status->value_or(0), 0) << what << " on " << platform(where).name();
        if (what == agent) {
            ASSERT_OK(platform(where).restart_agent());
        }
        for (int i = 0; i < 200 && !traces().empty(); ++i) std::this_thread::sleep_for(50ms);
        EXPECT_EQ(traces(), "") << what << " on " << platform(where).name();
        expect_both_at_home();
    }
    cross_together(0);
    expect_talk_goes_on();
}

// The other member has hundreds of megabytes to restore before it votes: it is held there, until
// this one's destination can no longer hear of the decision.
class DecidedContainerGroupTest : public ContainerGroupTest {
  protected:
    // Stops the destination's worker of the talker, lets the group decide to go, and then does what
    // is given with its pid.
    template <class Then>
    void go_when_decided(Then then) {
        start(256 * 1024);
        if (HasFatalFailure()) return;
        std::vector<std::string> arguments = command(0);
        arguments.insert(arguments.end(), {"--method", "checkpoint"});
        auto migration =
            os::ChildProcess::start(platform(0).host().launch(platform(0).ferry(arguments)));
        ASSERT_OK(migration);
        const pid_t worker = stop_when_ready();
        ASSERT_GT(worker, 0);
        ASSERT_TRUE(eventually([this] { return decision() == "commit"; }));
        then(worker);
        const auto status = migration->wait(120s);
        ASSERT_OK(status);
        EXPECT_EQ(status->value_or(-1), 0) << platform(0).agent_log() << platform(1).agent_log();
        ASSERT_OK(container_->follow_to(platform(1).host()));
        ASSERT_OK(talker_->follow_to(platform(1).host()));
        expect_both_at_home();
    }
    void do_there(const std::string& command) {
        EXPECT_OK(platform(1).host().run_checked({"sh", "-c", command}, 5s));
    }

  private:
    template <class Ready>
    static bool eventually(Ready ready) {
        const auto limit = std::chrono::steady_clock::now() + 120s;
        while (!ready()) {
            if (std::chrono::steady_clock::now() > limit) return false;
            std::this_thread::sleep_for(1ms);
        }
        return true;
    }
    // From outside, and without starting any program: there is little time.
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
    // The service's at the destination.
    JournalEntry session(const std::string& service) {
        return session_of(platform(1), service).value_or(JournalEntry{});
    }
    // Stops the talker's worker at the destination when it has said that it is ready, and the other
    // one's until then. 0: that could not be.
    pid_t stop_when_ready() {
        JournalEntry talker;
        if (!eventually([&] { return (talker = session("talker")).state == "ready"; })) return 0;
        const pid_t other = session("web").worker;
        if (other <= 0 || ::kill(other, SIGSTOP) != 0) return 0;
        EXPECT_EQ(session("web").state, "precopy") << "it was ready as soon as the talker";
        // It is recorded before it is said.
        std::this_thread::sleep_for(500ms);
        const bool stopped = talker.worker > 0 && ::kill(talker.worker, SIGSTOP) == 0;
        return ::kill(other, SIGCONT) == 0 && stopped ? talker.worker : 0;
    }
};

TEST_F(DecidedContainerGroupTest, WhoseDestinationDiesBeforeItHasHeardOfItFollows) {
    go_when_decided([](pid_t worker) { EXPECT_EQ(::kill(worker, SIGKILL), 0); });
    EXPECT_THAT(platform(0).agent_log(), HasSubstr("talker follows its group"));
}

// Between the decision and the answer: the source asks until it can be told.
TEST_F(DecidedContainerGroupTest, ALinkThatIsCutThenCostsTimeOnly) {
    go_when_decided([&](pid_t worker) {
        std::ofstream(directory_ + "/cut") << fmt::format(
            "table ip cut {{\n"
            "  chain out {{ type filter hook output priority 0; ip daddr {0} drop; }}\n"
            "  chain in {{ type filter hook input priority 0; ip saddr {0} drop; }}\n"
            "}}\n",
            platform(0).address());
        do_there("nft -f " + directory_ + "/cut");
        EXPECT_EQ(::kill(worker, SIGCONT), 0);
        // Longer than the source waits for a word before it asks.
        std::this_thread::sleep_for(6s);
        do_there("nft delete table ip cut");
    });
    EXPECT_THAT(platform(0).agent_log(), testing::Not(HasSubstr("follows")));
}

}  // namespace
}  // namespace ferry::lab
