// Two trees with an address each, which talk to each other, cross together.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "fixture.h"
#include "talker.h"

namespace ferry::lab {
namespace {

using GroupTest = TwoPlatformsTest;

TEST_F(GroupTest, TreesCrossTogetherAndTheirConnectionGoesOn) {
    start();
    if (HasFatalFailure()) return;
    const auto second = add_service_interface(
        platform(0).host(),
        {.name = "svc1", .mac = "02:fe:77:00:01:65", .address = "10.77.1.101/24"});
    ASSERT_OK(second);
    std::vector<std::string> command = {
        "setsid", "-f", "sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh"};
    const std::string said = std::string(kSharedDirectory) + "/said";
    for (const std::string& word : talker("10.77.1.101", said)) command.push_back(word);
    ASSERT_OK(platform(0).host().run_checked(command, 10s));
    const std::string seen = platform(0).host().path(said);
    expect_talking(seen);
    for (const std::size_t from : {0u, 1u}) {
        const CommandResult result = ferry(from, {"migrate", "redis-server", "perl", "--to",
                                                  platform(1 - from).address(), "--json"});
        ASSERT_EQ(result.status, 0) << result.err << result.out;
        const auto json = nlohmann::json::parse(result.out, nullptr, false);
        ASSERT_TRUE(json.is_object()) << result.out;
        EXPECT_EQ(json["outcome"], "done");
        EXPECT_EQ(json["members"].size(), 2u);
        expect_talking(seen);
        expect_load_goes_on();
        for (const char* name : {"redis-server", "perl"}) {
            const auto here = processes_named(platform(1 - from).host(), name);
            ASSERT_OK(here);
            EXPECT_EQ(here->size(), 1u) << name;
            EXPECT_TRUE(processes_named(platform(from).host(), name)->empty()) << name;
        }
    }
    expect_nothing_lost();
}

}  // namespace
}  // namespace ferry::lab
