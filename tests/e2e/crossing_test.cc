// Redis crosses live, with everything it is made of, and its clients notice only a pause.
#include "fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class CrossingTest : public TwoPlatformsTest {
  protected:
    void cross(std::size_t from, std::size_t to) {
        const auto crossing = lab_->migrate(from, to);
        ASSERT_OK(crossing);
        ASSERT_TRUE(crossing->report.succeeded)
            << crossing->report.error << "\n"
            << platform(from).agent_log() << platform(to).agent_log();
        EXPECT_EQ(crossing->copies, 1u);
        EXPECT_FALSE(crossing->report.rounds.empty());
        EXPECT_GT(crossing->report.wire_bytes, kMib << 20);
        EXPECT_FALSE(crossing->report.stop_rule.empty());
        longest_freeze_ms_ = std::max(longest_freeze_ms_, crossing->report.frozen_ms);
        const auto there = processes_named(platform(to).host(), "redis-server");
        ASSERT_OK(there);
        EXPECT_THAT(*there, testing::Contains(lab_->service()));
    }

    // A TCP counter of the clients' host (nstat(8)).
    int of_clients(const std::string& counter) {
        const auto text = lab_->client().run_checked({"nstat", "-asz", counter}, 10s);
        if (!text) return -1;
        return std::stoi(text->substr(text->find(counter) + counter.size()));
    }

    double longest_freeze_ms_ = 0;

    std::string info(std::size_t at, const std::string& field) {
        const auto text = platform(at).host().run_checked(
            {"redis-cli", "-h", lab_->service_address().ip, "info", "everything"}, 10s);
        if (!text) return text.error().message();
        const std::size_t start = text->find(field + ":");
        if (start == std::string::npos) return "";
        return text->substr(start + field.size() + 1,
                            text->find('\r', start) - start - field.size() - 1);
    }
};

TEST_F(CrossingTest, ThereAndBackNoConnectionBreaksAndNoWriteIsLost) {
    start();
    cross(0, 1);
    cross(1, 0);
    // What they sent meanwhile came across: no client had to wait for its retransmission timer.
    if (longest_freeze_ms_ < 100) {
        EXPECT_EQ(of_clients("TcpExtTCPTimeouts"), 0);
    }
    expect_unharmed(0);
    expect_nothing_lost();
}

TEST_F(CrossingTest, AChildThatIsSavingCrossesWithItsParentAndFinishes) {
    // The delay makes saving 65,536 keys take some seconds.
    start(kMib, {"--rdb-key-save-delay", "50"});
    Host& one = platform(0).host();
    ASSERT_OK(one.run_checked({"redis-cli", "-h", lab_->service_address().ip, "bgsave"}, 10s));
    ASSERT_EQ(info(0, "rdb_bgsave_in_progress"), "1");
    const auto crossing = lab_->migrate(0, 1);
    ASSERT_OK(crossing);
    ASSERT_TRUE(crossing->report.succeeded) << crossing->report.error;
    for (int i = 0; i < 300 && info(1, "rdb_bgsave_in_progress") == "1"; ++i) {
        std::this_thread::sleep_for(100ms);
    }
    EXPECT_EQ(info(1, "rdb_last_bgsave_status"), "ok");
    EXPECT_GT(std::stoi(info(1, "rdb_saves")), 0);
    const auto checked = platform(1).host().run(
        {"redis-check-rdb", std::string(kSharedDirectory) + "/redis/dump.rdb"}, 60s);
    ASSERT_OK(checked);
    EXPECT_EQ(checked->status, 0) << checked->out;
    expect_load_goes_on();
    expect_nothing_lost();
}

TEST_F(CrossingTest, StatusAndHistoryTellOfIt) {
    start();
    cross(0, 1);
    for (std::size_t i = 0; i < 2; ++i) {
        const auto history = platform(i).run_ferry({"history"}, 20s);
        ASSERT_OK(history);
        EXPECT_EQ(history->status, 0) << history->err;
        EXPECT_THAT(history->out, HasSubstr("platform2"));
    }
    const auto status = platform(0).run_ferry({"status"}, 20s);
    ASSERT_OK(status);
    EXPECT_EQ(status->status, 0) << status->err;
}

}  // namespace
}  // namespace ferry::lab
