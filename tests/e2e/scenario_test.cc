// The paper's four scenarios with the lab's own site, shortened: few requests, one run of each.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "lab/lab_run.h"
#include "lab/record_figures.h"
#include "lab/run_record.h"

namespace ferry::lab {
namespace {

struct Case {
    const char* scenario;
    Method method;
    bool sequential = false;
};
class Scenario : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(OfThePaper, Scenario,
                         testing::Values(Case{"1", Method::Live}, Case{"2", Method::Live},
                                         Case{"3", Method::Live}, Case{"4", Method::Live},
                                         Case{"4", Method::Live, true},
                                         Case{"3", Method::Checkpoint}),
                         [](const auto& given) {
                             return fmt::format("{}_{}{}", given.param.scenario,
                                                name_of(given.param.method),
                                                given.param.sequential ? "_sequential" : "");
                         });

TEST_P(Scenario, LosesNoRequestAndNoComment) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    std::string directory = "/tmp/ferry-scenario-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    LabRunOptions options;
    options.scenarios = {GetParam().scenario};
    options.methods = {GetParam().method};
    options.sequential = GetParam().sequential;
    options.directory = directory;
    options.lab.requests_per_second = 4;
    const auto good = run_lab(options);
    if (!good && good.error().message().find("no network") != std::string::npos) {
        GTEST_SKIP() << good.error().message();
    }
    ASSERT_TRUE(good) << good.error().describe();
    const auto record = load_record(directory + "/record.json");
    ASSERT_TRUE(record) << record.error().describe();
    ASSERT_EQ(record->runs.size(), 1u);
    EXPECT_TRUE(*good) << record->runs[0].error;
    EXPECT_TRUE(std::filesystem::exists(directory + "/report.html"));
    std::set<std::int64_t> ends;
    for (const CrossingRecord& crossing : record->runs[0].crossings) {
        EXPECT_TRUE(crossing.succeeded) << crossing.error;
        ends.insert(find_phase(crossing, PhaseKind::Total)->end_ns);
    }
    const std::size_t ways = options.scenarios[0] == "3" || options.scenarios[0] == "4" ? 2 : 1;
    EXPECT_EQ(ends.size(), GetParam().sequential ? 3 * ways : ways);
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
}

// Shortened: less memory, a slower link. Freezing all the same is far above --max-downtime; slowing
// the service down is what brings the freeze down again.
TEST(ScenarioDirty, SaysWhenPreCopyCannotWinAndSlowsTheServiceDownWhereItMay) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    std::string directory = "/tmp/ferry-scenario-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    LabRunOptions options;
    options.scenarios = {"dirty"};
    options.directory = directory;
    options.lab.link_bits_per_second = 4e8;
    options.cache = directory + "/cache";
    const auto good = run_lab(options);
    ASSERT_TRUE(good) << good.error().describe();
    const auto record = load_record(directory + "/record.json");
    ASSERT_TRUE(record) << record.error().describe();
    ASSERT_EQ(record->runs.size(), 1u);
    EXPECT_TRUE(*good) << record->runs[0].error;
    ASSERT_EQ(record->runs[0].crossings.size(), 2u);
    const CrossingRecord& frozen = record->runs[0].crossings[0];
    const CrossingRecord& slowed = record->runs[0].crossings[1];
    ASSERT_TRUE(frozen.method_change && slowed.method_change);
    EXPECT_EQ(frozen.method_change->to, "stop-and-copy");
    EXPECT_NE(slowed.method_change->to.find("slowed down"), std::string::npos);
    EXPECT_EQ(frozen.method_change->estimates.size(), 5u);
    const PhaseRecord* long_freeze = find_phase(frozen, PhaseKind::Frozen);
    const PhaseRecord* short_freeze = find_phase(slowed, PhaseKind::Frozen);
    ASSERT_TRUE(long_freeze != nullptr && short_freeze != nullptr);
    EXPECT_GT(long_freeze->milliseconds(), 500);
    EXPECT_LT(short_freeze->milliseconds(), long_freeze->milliseconds() / 2);
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
}

}  // namespace
}  // namespace ferry::lab
