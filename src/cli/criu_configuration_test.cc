#include "cli/criu_configuration.h"

#include <gtest/gtest.h>

namespace ferry::cli {
namespace {

TEST(CriuConfiguration, SaysMoreThanTheRequestDoes) {
    RpcOptions options;
    ASSERT_TRUE(
        apply_configuration("# for all containers\n\n  tcp-established\n"
                            "ghost-limit 2M  # bytes\nmanage-cgroups=soft\nfile-locks",
                            options));
    EXPECT_TRUE(options.tcp_established);
    EXPECT_TRUE(options.file_locks);
    EXPECT_FALSE(options.shell_job);
    EXPECT_EQ(options.ghost_bytes_max, 2u << 20);
}

TEST(CriuConfiguration, WhatFerryDoesNotHaveIsNamed) {
    RpcOptions options;
    const auto closed = apply_configuration("tcp-close\n", options);
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(closed.error().message().find("option tcp-close"), std::string::npos);
    for (const char* text : {"ghost-limit", "ghost-limit many", "ghost-limit 1T"}) {
        const auto refused = apply_configuration(text, options);
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().kind(), Error::Kind::Invalid);
    }
}

}  // namespace
}  // namespace ferry::cli
