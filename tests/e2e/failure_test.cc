// Ends at the wrong moment: of the command, of either agent, of the network, during pre-copy. After
// each the service runs where it ran, for the same clients, and nothing is left behind.
#include <signal.h>

#include <nlohmann/json.hpp>

#include "fixture.h"

namespace ferry::lab {
namespace {

constexpr const char* kPeer = "10.77.0.12";

class FailureTest : public TwoPlatformsTest {
  protected:
    // Large enough that pre-copy lasts some hundred milliseconds.
    void SetUp() override {
        TwoPlatformsTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) start(384);
    }

    // A migration that has begun to copy: the destination holds some of the service's memory.
    void begin_migration() {
        const auto idle = platform(1).host().cgroup().memory_bytes();
        ASSERT_TRUE(idle) << "needs a memory controller";
        os::Launch launch =
            platform(0).host().launch(platform(0).ferry({"migrate", service_pid(), "--to", kPeer}));
        auto started = os::ChildProcess::start(launch);
        ASSERT_OK(started);
        migration_ = std::move(*started);
        for (int i = 0; i < 10000; ++i) {
            if (*platform(1).host().cgroup().memory_bytes() > *idle + (32u << 20)) return;
            std::this_thread::sleep_for(1ms);
        }
        FAIL() << "the migration does not begin";
    }

    int end_of_migration() {
        const auto status = migration_.wait(60s);
        if (!status || !status->has_value()) return -1;
        return **status;
    }

    // Shows that the platforms are still good for a crossing.
    void expect_crossing_works() {
        const auto crossing = lab_->migrate(0, 1);
        ASSERT_OK(crossing);
        EXPECT_TRUE(crossing->report.succeeded) << crossing->report.error;
        expect_nothing_lost();
    }

    os::ChildProcess migration_;
};

TEST_F(FailureTest, SigkillOfTheCommand) {
    begin_migration();
    ASSERT_OK(migration_.send_signal(SIGKILL));
    EXPECT_EQ(end_of_migration(), 128 + SIGKILL);
    expect_unharmed();
    expect_crossing_works();
}

TEST_F(FailureTest, ControlCOfTheCommand) {
    begin_migration();
    ASSERT_OK(migration_.send_signal(SIGINT));
    EXPECT_NE(end_of_migration(), 0);
    expect_unharmed();
    expect_crossing_works();
}

TEST_F(FailureTest, AnAbortByAnotherCommand) {
    begin_migration();
    const auto status = platform(0).run_ferry({"status", "--json"}, 20s);
    ASSERT_OK(status);
    const auto sessions = nlohmann::json::parse(status->out, nullptr, false);
    ASSERT_EQ(sessions.size(), 1u) << status->out << status->err;
    const std::string session = sessions[0].value("session", "");
    const auto aborted = platform(0).run_ferry({"abort", session}, 60s);
    ASSERT_OK(aborted);
    EXPECT_EQ(aborted->status, 0) << aborted->err;
    EXPECT_NE(end_of_migration(), 0);
    expect_unharmed();
}

TEST_F(FailureTest, SigkillOfTheAgentAtTheSource) {
    begin_migration();
    ASSERT_OK(platform(0).agent().send_signal(SIGKILL));
    EXPECT_NE(end_of_migration(), 0);
    ASSERT_OK(platform(0).restart_agent());
    expect_unharmed();
    expect_crossing_works();
}

TEST_F(FailureTest, SigkillOfTheAgentAtTheDestination) {
    begin_migration();
    ASSERT_OK(platform(1).agent().send_signal(SIGKILL));
    EXPECT_NE(end_of_migration(), 0);
    ASSERT_OK(platform(1).restart_agent());
    expect_unharmed();
    expect_crossing_works();
}

TEST_F(FailureTest, TheNetworkBetweenTheAgentsIsCut) {
    begin_migration();
    Host& two = platform(1).host();
    ASSERT_OK(two.run_checked({"ip", "link", "set", "eth0", "down"}, 10s));
    // Nobody can tell a cut network from a slow one: the command must be told to give up.
    ASSERT_OK(migration_.send_signal(SIGINT));
    EXPECT_NE(end_of_migration(), 0);
    ASSERT_OK(two.run_checked({"ip", "link", "set", "eth0", "up"}, 10s));
    expect_load_goes_on();
    const auto copies = lab_->copies();
    ASSERT_OK(copies);
    EXPECT_EQ(*copies, 1u);
}

}  // namespace
}  // namespace ferry::lab
