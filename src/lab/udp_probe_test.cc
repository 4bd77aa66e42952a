#include "lab/udp_probe.h"

#include <gtest/gtest.h>

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

const Moment kBegin = Moment() + 1000s;

EchoAccount account_of(int sent) {
    EchoAccount account;
    for (int i = 0; i < sent; ++i) account.sent(kBegin + i * 10ms);
    return account;
}

TEST(EchoAccount, DelayLossAndGap) {
    EchoAccount account = account_of(4);
    account.echoed(0, kBegin + 2ms);
    account.echoed(1, kBegin + 14ms);
    account.echoed(3, kBegin + 36ms);
    const UdpResult result = account.result();
    EXPECT_EQ(result.sent, 4u);
    EXPECT_EQ(result.received, 3u);
    EXPECT_EQ(result.lost(), 1u);
    EXPECT_DOUBLE_EQ(result.loss(), 0.25);
    EXPECT_DOUBLE_EQ(result.mean_delay_ms, 4);
    EXPECT_DOUBLE_EQ(result.longest_gap_ms, 22);
    EXPECT_LT(result.packets[2].delay_ms, 0);
    EXPECT_DOUBLE_EQ(result.packets[3].delay_ms, 6);
}

TEST(EchoAccount, JitterFollowsTheRfc) {
    EchoAccount account = account_of(3);
    account.echoed(0, kBegin + 1ms);
    account.echoed(1, kBegin + 27ms);  // 16 ms more on its way: J = 16/16
    account.echoed(2, kBegin + 37ms);  // as long as before: J = 1 - 1/16
    const UdpResult result = account.result();
    EXPECT_DOUBLE_EQ(result.longest_jitter_ms, 1);
    EXPECT_DOUBLE_EQ(result.jitter_ms, 1 - 1.0 / 16);
}

TEST(EchoAccount, DuplicatesStragglersAndStrangers) {
    EchoAccount account = account_of(3);
    account.echoed(1, kBegin + 12ms);
    account.echoed(1, kBegin + 13ms);
    account.echoed(0, kBegin + 14ms);
    account.echoed(99, kBegin + 15ms);
    const UdpResult result = account.result();
    EXPECT_EQ(result.received, 2u);
    EXPECT_EQ(result.duplicates, 1u);
    EXPECT_EQ(result.reordered, 1u);
    EXPECT_EQ(result.foreign, 1u);
    EXPECT_EQ(result.lost(), 1u);
}

}  // namespace
}  // namespace ferry::lab
