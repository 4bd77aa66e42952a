#include "proc/user_namespace.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace ferry::proc {
namespace {

TEST(IdMaps, TranslateBothWays) {
    const auto map = parse_id_map(
        "         0     100000      65536\n"
        "     70000       1000          1\n"
        "4294967294 4294967000          1\n");
    ASSERT_TRUE(map) << map.error().message();
    EXPECT_EQ(map->inside(100000), 0u);
    EXPECT_EQ(map->inside(165535), 65535u);
    EXPECT_EQ(map->inside(165536), std::nullopt);
    EXPECT_EQ(map->inside(99999), std::nullopt);
    EXPECT_EQ(map->inside(0), std::nullopt);
    EXPECT_EQ(map->inside(1000), 70000u);
    EXPECT_EQ(map->inside(4294967000), 4294967294u);
    EXPECT_EQ(map->outside(33), 100033u);
    EXPECT_EQ(map->outside(65536), std::nullopt);
    EXPECT_EQ(map->outside(70000), 1000u);
}

TEST(IdMaps, NonsenseIsNamed) {
    for (const char* text : {"0 100000\n", "a b c\n", "0 4294967296 1\n", "\n"}) {
        const auto map = parse_id_map(text);
        ASSERT_FALSE(map) << text;
        EXPECT_EQ(map.error().kind(), Error::Kind::Corrupt);
    }
    std::string many;
    for (int i = 0; i < 400; ++i) many += "1 1 1\n";
    EXPECT_FALSE(parse_id_map(many));
    EXPECT_TRUE(parse_id_map("")->ranges().empty());
}

TEST(UserNamespaces, OursIsNoOther) {
    const auto own = user_namespace_of(Pid{::getpid()});
    ASSERT_TRUE(own) << own.error().message();
    EXPECT_FALSE(*own);
}

}  // namespace
}  // namespace ferry::proc
