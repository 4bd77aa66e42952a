#include "migrate/connection_lock.h"

#include <gtest/gtest.h>

namespace ferry::migrate {
namespace {

constexpr const char* kTcp =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 00000000:1CDF 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 "
    "20237 1 0000000000000000 100 0 0 10 0\n"
    "   1: 0100007F:1CDF 0200000A:914C 01 00000000:00000000 00:00000000 00000000     0        0 "
    "21345 1 0000000000000000 20 4 30 10 -1\n";

TEST(ParseConnections, ListenersAreLeftOut) {
    const auto parsed = parse_connections(kTcp);
    ASSERT_TRUE(parsed) << parsed.error().describe();
    ASSERT_EQ(parsed->size(), 1u);
    const Connection& connection = parsed->front();
    EXPECT_EQ(connection.local.to_string(), "127.0.0.1");
    EXPECT_EQ(connection.peer.to_string(), "10.0.0.2");
    EXPECT_EQ(connection.local_port, 7391);
    EXPECT_EQ(connection.peer_port, 37196);
    EXPECT_EQ(connection.inode, 21345u);
}

TEST(ParseConnections, MappedAddressesAreIpv4) {
    const auto parsed = parse_connections(
        "head\n 0: 0000000000000000FFFF00000100007F:1CDF 0000000000000000FFFF00000100007F:0001 01 "
        "0:0 0:0 0 0 0 77 1\n");
    ASSERT_TRUE(parsed) << parsed.error().describe();
    ASSERT_EQ(parsed->size(), 1u);
    EXPECT_EQ(parsed->front().local.to_string(), "127.0.0.1");
}

TEST(ParseConnections, NonsenseIsCorrupt) {
    EXPECT_FALSE(parse_connections("head\n 0: zz:1 yy:2 01 0 0 0 0 0 7\n"));
    EXPECT_FALSE(parse_connections("head\n 0: short\n"));
    EXPECT_TRUE(parse_connections(""));
}

}  // namespace
}  // namespace ferry::migrate
