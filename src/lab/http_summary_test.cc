#include "lab/http_summary.h"

#include <gtest/gtest.h>

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

const Moment kBegin = Moment() + 1000s;

HttpRecord answered(std::chrono::milliseconds due, std::chrono::milliseconds delay) {
    return {.kind = RequestKind::Page,
            .due = kBegin + due,
            .done = kBegin + due + delay,
            .answered = true,
            .broke = false,
            .bytes = 100};
}

TEST(HttpSummary, RequestsBelongToTheSpanInWhichTheyWereDue) {
    const std::vector<HttpRecord> records = {answered(-1ms, 5ms), answered(0ms, 5ms),
                                             answered(99ms, 50ms), answered(100ms, 5ms)};
    const HttpResult result = summarise(records, kBegin, kBegin + 100ms, 50ms);
    EXPECT_EQ(result.due, 2u);
    EXPECT_EQ(result.answers(), 2u);
    EXPECT_EQ(result.bytes, 200u);
    EXPECT_TRUE(result.good());
    EXPECT_DOUBLE_EQ(result.seconds, 0.1);
    EXPECT_DOUBLE_EQ(result.longest_delay_ms, 50);
    ASSERT_EQ(result.samples.size(), 3u);
    EXPECT_EQ(result.samples[0].answered, 1u);
    EXPECT_DOUBLE_EQ(result.samples[0].median_ms, 5);
    EXPECT_EQ(result.samples[1].due, 1u);
    EXPECT_EQ(result.samples[1].answered, 0u);
    EXPECT_EQ(result.samples[2].answered, 1u);
}

TEST(HttpSummary, AFailureCountsAndItsWaitToo) {
    std::vector<HttpRecord> records = {answered(0ms, 5ms), answered(10ms, 300ms)};
    records[1].answered = false;
    records[1].broke = true;
    records[1].retransmissions = 3;
    const HttpResult result = summarise(records, kBegin, kBegin + 1s, 100ms);
    EXPECT_FALSE(result.good());
    EXPECT_EQ(result.failed, 1u);
    EXPECT_EQ(result.broken_connections, 1u);
    EXPECT_EQ(result.answers(), 1u);
    EXPECT_DOUBLE_EQ(result.longest_delay_ms, 300);
    EXPECT_EQ(result.retransmissions, 3u);
    EXPECT_EQ(result.samples[3].failed, 1u);
    EXPECT_EQ(result.samples[3].retransmissions, 3u);
}

TEST(HttpSummary, SilenceIsWhereSomebodyWaitsAndNobodyIsAnswered) {
    // Idle from 5 to 200 ms; then three requests wait, the first answer comes at 280 ms.
    const std::vector<HttpRecord> records = {answered(0ms, 5ms), answered(200ms, 100ms),
                                             answered(210ms, 70ms), answered(220ms, 100ms)};
    const HttpResult result = summarise(records, kBegin, kBegin + 1s, 100ms);
    EXPECT_DOUBLE_EQ(result.longest_silence_ms, 80);
    EXPECT_DOUBLE_EQ(result.longest_delay_ms, 100);
}

TEST(HttpSummary, APauseIsWhatARequestTakesBeyondWhatItsKindUsuallyTakes) {
    std::vector<HttpRecord> records;
    for (int i = 0; i < 5; ++i) {
        records.push_back(answered(i * 10ms, 30ms));
        records.push_back(answered(i * 10ms, 2ms));
        records.back().kind = RequestKind::Image;
    }
    EXPECT_DOUBLE_EQ(summarise(records, kBegin, kBegin + 1s, 100ms).longest_pause_ms, 0);
    records[3].done += 25ms;  // an image: its delay of 27 ms is less than any page's
    const HttpResult result = summarise(records, kBegin, kBegin + 1s, 100ms);
    EXPECT_DOUBLE_EQ(result.longest_pause_ms, 25);
    EXPECT_DOUBLE_EQ(result.longest_delay_ms, 30);
}

TEST(HttpSummary, AStandstillThatFillsTheSpanDoesNotBecomeTheUsual) {
    std::vector<HttpRecord> records;
    for (int i = 0; i < 20; ++i) records.push_back(answered(i * 10ms, 30ms));
    // All of the span waits for the same moment.
    for (int i = 20; i < 40; ++i) records.push_back(answered(i * 10ms, 1030ms - i * 10ms));
    const HttpResult result = summarise(records, kBegin + 200ms, kBegin + 400ms, 100ms);
    EXPECT_EQ(result.due, 20u);
    EXPECT_DOUBLE_EQ(result.longest_pause_ms, 800);
}

TEST(HttpSummary, WhatIsStillWaitedForIsNoFailureButAPause) {
    std::vector<HttpRecord> records = {answered(0ms, 5ms), answered(10ms, 5ms),
                                       answered(20ms, 400ms)};
    records[2].answered = false;
    records[2].pending = true;
    const HttpResult result = summarise(records, kBegin, kBegin + 1s, 100ms);
    EXPECT_TRUE(result.good());
    EXPECT_EQ(result.pending, 1u);
    EXPECT_EQ(result.answers(), 2u);
    EXPECT_DOUBLE_EQ(result.longest_pause_ms, 395);
    EXPECT_DOUBLE_EQ(result.longest_silence_ms, 400);
    EXPECT_EQ(result.samples[4].failed, 0u);
}

TEST(HttpSummary, NothingAtAllIsNoTrouble) {
    const HttpResult result = summarise({}, kBegin, kBegin + 1s, 100ms);
    EXPECT_EQ(result.due, 0u);
    EXPECT_EQ(result.longest_silence_ms, 0);
    EXPECT_TRUE(result.good());
}

TEST(CommentCheck, EveryConfirmedCommentIsThereOnce) {
    const std::vector<SentComment> sent = {{"a", 1}, {"b", 2}, {"c", std::nullopt}};
    const CommentCheck check = check_comments(sent, std::vector<SiteComment>{{1, "a"}, {2, "b"}});
    EXPECT_TRUE(check.good());
    EXPECT_EQ(check.acknowledged, 2u);
    EXPECT_EQ(check.found_once, 2u);
    EXPECT_EQ(check.unacknowledged, 0u);
}

TEST(CommentCheck, LostDoubledAndForeignOnesAreNoticed) {
    const std::vector<SentComment> sent = {{"a", 1}, {"b", 2}, {"c", 3}, {"d", std::nullopt}};
    const std::vector<SiteComment> rows = {{1, "a"}, {3, "c"}, {4, "c"}, {5, "d"}, {6, "x"}};
    const CommentCheck check = check_comments(sent, rows);
    EXPECT_FALSE(check.good());
    EXPECT_EQ(check.lost, 1u);
    EXPECT_EQ(check.doubled, 1u);
    EXPECT_EQ(check.foreign, 1u);
    EXPECT_EQ(check.unacknowledged, 1u);
    EXPECT_EQ(check.found_once, 1u);
}

TEST(CommentCheck, AConfirmedCommentUnderAnotherNumberIsLost) {
    // As when a database was set back and the row was written again.
    const std::vector<SentComment> sent = {{"a", 7}};
    EXPECT_EQ(check_comments(sent, std::vector<SiteComment>{{8, "a"}}).lost, 1u);
}

}  // namespace
}  // namespace ferry::lab
