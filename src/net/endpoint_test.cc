#include "net/endpoint.h"

#include <gtest/gtest.h>

namespace ferry::net {
namespace {

TEST(Endpoint, HostAloneTakesTheDefaultPort) {
    const auto endpoint = Endpoint::parse("platform2", 7411);
    ASSERT_TRUE(endpoint);
    EXPECT_EQ(endpoint->host, "platform2");
    EXPECT_EQ(endpoint->port, 7411);
}

TEST(Endpoint, PortAfterAColonIsTaken) {
    const auto endpoint = Endpoint::parse("10.0.0.2:99", 7411);
    ASSERT_TRUE(endpoint);
    EXPECT_EQ(endpoint->host, "10.0.0.2");
    EXPECT_EQ(endpoint->port, 99);
    EXPECT_EQ(endpoint->to_string(), "10.0.0.2:99");
}

TEST(Endpoint, AnAddressOfVersionSixMayStandBareOrInBrackets) {
    EXPECT_EQ(Endpoint::parse("fe80::1", 1)->host, "fe80::1");
    const auto bracketed = Endpoint::parse("[fe80::1]:2", 1);
    ASSERT_TRUE(bracketed);
    EXPECT_EQ(bracketed->port, 2);
    EXPECT_EQ(bracketed->to_string(), "[fe80::1]:2");
}

TEST(Endpoint, NonsenseIsInvalid) {
    for (const char* text :
         {"", ":", ":80", "host:", "host:x", "host:70000", "[::1", "[::1]x", "a b", "a/b", "-\n"}) {
        const auto endpoint = Endpoint::parse(text, 1);
        ASSERT_FALSE(endpoint) << text;
        EXPECT_EQ(endpoint.error().kind(), Error::Kind::Invalid) << text;
    }
}

}  // namespace
}  // namespace ferry::net
