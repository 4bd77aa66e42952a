// Two containers that talk to each other cross together, in one moment, or not at all.
#include "container_fixture.h"
#include "talker.h"

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
        talker_ = make_container({.name = "talker",
                                  .bundle = {},
                                  .directory = {},
                                  .bridge = {},
                                  .address = "10.77.1.101/24",
                                  .mac = "02:fe:77:00:01:65"},
                                 talker("10.77.1.101", "/data/said"));
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
    ASSERT_OK(load_->stop());
    const auto verified = load_->verify();
    ASSERT_OK(verified);
    EXPECT_EQ(verified->lost, 0u);
    EXPECT_EQ(verified->foreign, 0u);
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

// Its destination stands still when all have voted, and is dead before it has heard the decision.
TEST_F(ContainerGroupTest, WhoIsLeftBehindByADeadDestinationFollows) {
    start(256 * 1024);
    if (HasFatalFailure()) return;
    std::vector<std::string> arguments = command(0);
    // The other member needs long for its restore, after which it votes.
    arguments.insert(arguments.end(), {"--method", "checkpoint"});
    auto migration =
        os::ChildProcess::start(platform(0).host().launch(platform(0).ferry(arguments)));
    ASSERT_OK(migration);
    const auto in_journal = [this](std::size_t where, const std::string& command) {
        return platform(where).host().run_checked(
            {"sh", "-c", fmt::format("cd {}/state/sessions && {}", kFerryDirectory, command)}, 60s);
    };
    // A worker has the id of its session as its last argument.
    const auto worker = in_journal(
        1,
        "until f=$(grep -l ready $(grep -l talker *.json /dev/null)); do sleep 0.005; done; "
        "pid=$(pgrep -o -f \"session-worker ${f%.json}\"); kill -STOP $pid; echo $pid");
    ASSERT_OK(worker);
    ASSERT_OK(in_journal(0, "until [ \"$(readlink *.decision)\" = commit ]; do sleep 0.01; done"));
    ASSERT_OK(platform(1).host().run_checked({"sh", "-c", "kill -9 " + *worker}, 5s));
    const auto status = migration->wait(120s);
    ASSERT_OK(status);
    EXPECT_EQ(status->value_or(-1), 0) << platform(0).agent_log() << platform(1).agent_log();
    EXPECT_THAT(platform(0).agent_log(), HasSubstr("talker follows its group"));
    ASSERT_OK(container_->follow_to(platform(1).host()));
    ASSERT_OK(talker_->follow_to(platform(1).host()));
    expect_both_at_home();
}

}  // namespace
}  // namespace ferry::lab
