// What lives in the IPC namespace of a container that leaves its host.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

TEST_F(ContainerCrossingTest, WhatWouldBeLostOfItsIpcNamespaceIsRefusedByName) {
    start_container({"sleep", "1000"});
    const auto made =
        runc_checked(platform(0).host(), {"exec", "web", "ipcmk", "-Q", "-p", "0600"}, 10s);
    ASSERT_OK(made);
    for (const std::vector<std::string>& leaving :
         {std::vector<std::string>{"migrate", "web", "--to", platform(1).address()},
          std::vector<std::string>{"dump", "web", "--runtime-root", kRuncRoot, "-D", kImages}}) {
        platform(0).host().run({"mkdir", "-p", kImages}, 5s).value();
        const auto result = platform(0).run_ferry(leaving, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_THAT(result->err, HasSubstr("System V message queue 0 (key 0x"));
    }
    EXPECT_OK(container_->status());
    EXPECT_EQ(container_->status().value_or(""), "running");
}

}  // namespace
}  // namespace ferry::lab
