#include "lab/client_record.h"

#include <gtest/gtest.h>

#include "lab/http_summary.h"
#include "lab/udp_probe.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

HttpRecord answered(Moment due, std::chrono::milliseconds delay) {
    HttpRecord record;
    record.due = due;
    record.done = due + delay;
    record.answered = true;
    record.bytes = 1000;
    return record;
}

class ClientRecordTest : public testing::Test {
  protected:
    RunClock clock_;
    Moment begin_ = std::chrono::steady_clock::now() + 1s;
};

TEST_F(ClientRecordTest, SitesAreAddedUpAndTheWorstCounts) {
    std::vector<HttpRecord> one = {answered(begin_, 10ms), answered(begin_ + 1s, 10ms)};
    std::vector<HttpRecord> two = {answered(begin_, 10ms), answered(begin_ + 1s, 10ms),
                                   answered(begin_ + 1s, 70ms)};
    two.push_back(two.back());
    two.back().answered = false;
    ClientFigures figures;
    figures.http = {summarise(one, begin_, begin_ + 2s, 100ms),
                    summarise(two, begin_, begin_ + 2s, 100ms)};
    figures.udp = {
        summarise(std::vector<UdpPacket>{{begin_, 3}, {begin_ + 10ms, -1}}, begin_, begin_ + 2s)};
    figures.comments = {{.acknowledged = 3, .found_once = 3}, {.acknowledged = 4, .lost = 1}};
    const ClientRecord record = client_record(figures, clock_);
    EXPECT_EQ(record.begin_ns, clock_.at_ns(begin_));
    EXPECT_EQ(record.end_ns - record.begin_ns, 2'000'000'000);
    EXPECT_EQ(record.requests, 6u);
    EXPECT_EQ(record.failed_requests, 1u);
    EXPECT_DOUBLE_EQ(*record.requests_per_second, 2.5);
    EXPECT_DOUBLE_EQ(*record.bytes_per_second, 3000);
    EXPECT_DOUBLE_EQ(*record.delay_max_ms, 70);
    EXPECT_DOUBLE_EQ(*record.longest_pause_ms, 60);
    EXPECT_EQ(record.probes_sent, 2u);
    EXPECT_EQ(record.probes_lost, 1u);
    EXPECT_EQ(record.comments_acknowledged, 7u);
    EXPECT_EQ(record.comments_lost, 1u);
}

TEST_F(ClientRecordTest, WhatWasNotMeasuredIsAbsent) {
    ClientFigures figures;
    figures.http = {summarise({}, begin_, begin_ + 1s, 100ms)};
    const ClientRecord record = client_record(figures, clock_);
    EXPECT_EQ(record.requests, 0u);
    EXPECT_FALSE(record.delay_p50_ms);
    EXPECT_FALSE(record.longest_pause_ms);
    EXPECT_FALSE(record.probes_sent);
    EXPECT_FALSE(record.comments_acknowledged);
}

TEST_F(ClientRecordTest, SeriesAreOnTheClockOfTheRun) {
    const std::vector<HttpRecord> records = {answered(begin_, 10ms),
                                             answered(begin_ + 250ms, 20ms)};
    const auto http =
        http_series(summarise(records, begin_, begin_ + 300ms, 100ms), clock_, "site");
    ASSERT_EQ(http.size(), 4u);
    EXPECT_EQ(http[0].quantity, Quantity::Requests);
    EXPECT_EQ(http[0].at_ns.front(), clock_.at_ns(begin_));
    EXPECT_DOUBLE_EQ(http[0].values[0], 10);  // one in 100 ms
    EXPECT_DOUBLE_EQ(http[0].values[1], 0);
    EXPECT_EQ(http[3].quantity, Quantity::Delay);
    EXPECT_EQ(http[3].values, (std::vector<double>{10, 20}));
    const std::vector<UdpPacket> packets = {{begin_, 1}, {begin_ + 10ms, -1}, {begin_ + 20ms, 17}};
    const auto udp = udp_series(summarise(packets, begin_, begin_ + 1s), clock_, "site");
    ASSERT_EQ(udp.size(), 3u);
    EXPECT_EQ(udp[0].values, (std::vector<double>{1, 17}));
    EXPECT_EQ(udp[1].values, (std::vector<double>{0, 1}));
    EXPECT_EQ(udp[2].values, (std::vector<double>{10}));
}

}  // namespace
}  // namespace ferry::lab
