#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ferry::cli {
namespace {

using testing::ElementsAre;

TEST(Arguments, VerbosityIsReadAsGetoptReadsIt) {
    EXPECT_THAT(rewrite_arguments({"dump", "-v4"}), ElementsAre("dump", "--verbosity=4"));
    EXPECT_THAT(rewrite_arguments({"dump", "-vvvv"}), ElementsAre("dump", "--verbosity=4"));
    EXPECT_THAT(rewrite_arguments({"-v", "-v"}), ElementsAre("--verbosity=1", "--verbosity=2"));
    EXPECT_THAT(rewrite_arguments({"check", "-verbosity=0"}),
                ElementsAre("check", "--verbosity=0"));
    EXPECT_THAT(rewrite_arguments({"--verbosity=4", "--version"}),
                ElementsAre("--verbosity=4", "--version"));
}

TEST(Arguments, ManageCgroupsNeedsNoMode) {
    EXPECT_THAT(rewrite_arguments({"--manage-cgroups", "-t"}),
                ElementsAre("--manage-cgroups=soft", "-t"));
    EXPECT_THAT(rewrite_arguments({"--manage-cgroups=full"}), ElementsAre("--manage-cgroups=full"));
}

TEST(Arguments, WhatFollowsTwoDashesStays) {
    EXPECT_THAT(rewrite_arguments({"restore", "--", "-v4"}), ElementsAre("restore", "--", "-v4"));
}

}  // namespace
}  // namespace ferry::cli
