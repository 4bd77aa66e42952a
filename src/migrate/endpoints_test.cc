#include "migrate/endpoints.h"

#include <gtest/gtest.h>

#include <array>

namespace ferry::migrate {
namespace {

constexpr const char* kTcp =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 64004D0A:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "771 1 f 0\n"
    "   1: 64004D0A:18EB 0A004D0A:B1F2 01 00000000:00000000 00:00000000 00000000     0        0 "
    "772 1 f 0\n"
    "   2: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "773 1 f 0\n"
    "   3: 65004D0A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "900 1 f 0\n";

TEST(Endpoints, OnlyTheTreesOwnNonLoopbackAddressesCountAndEachOnce) {
    constexpr std::array<std::uint64_t, 3> kInodes = {771, 772, 773};
    const auto found = addresses_in_table(kTcp, kInodes);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().to_string(), "10.77.0.100");
}

TEST(Endpoints, ReadsIPv6) {
    constexpr std::array<std::uint64_t, 1> kInodes = {5};
    const auto found = addresses_in_table(
        "head\n 0: 000000FD000000000000000002000000:0050 00000000000000000000000000000000:0000 0A "
        "0:0 00:0 0 0 0 5 1 f\n",
        kInodes);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(found->size(), 1u);
    EXPECT_EQ(found->front().to_string(), "fd00::2");
}

TEST(Endpoints, NonsenseIsCorrupt) {
    EXPECT_EQ(addresses_in_table("head\nwhat is this\n", {}).error().kind(), Error::Kind::Corrupt);
}

}  // namespace
}  // namespace ferry::migrate
