#include "lab/run_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lab/sample_record.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

std::string changed(const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = nlohmann::json::parse(to_json(sample_record_for_tests()));
    change(json);
    return json.dump();
}

void expect_corrupt(const std::string& text, const char* words) {
    const Result<LabRecord> record = record_from_json(text);
    ASSERT_FALSE(record.has_value()) << words;
    EXPECT_EQ(record.error().kind(), Error::Kind::Corrupt);
    EXPECT_THAT(record.error().message(), HasSubstr(words));
}

TEST(RunRecord, EveryFieldSurvivesTheRoundTripThroughJson) {
    const LabRecord record = sample_record_for_tests();
    const Result<LabRecord> back = record_from_json(to_json(record));
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_EQ(*back, record);
}

TEST(RunRecord, AFigureThatWasNotMeasuredStaysAbsent) {
    LabRecord record = sample_record_for_tests();
    record.runs[0].clients->jitter_ms.reset();
    record.runs[0].crossings[0].clients.reset();
    record.runs[0].crossings[0].phases[0].memory_before.host.reset();
    const Result<LabRecord> back = record_from_json(to_json(record));
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_FALSE(back->runs[0].clients->jitter_ms);
    EXPECT_FALSE(back->runs[0].crossings[0].clients);
    EXPECT_EQ(*back, record);
}

TEST(RunRecord, AMissingKeyIsAnAbsentFigure) {
    const Result<LabRecord> back =
        record_from_json(changed([](auto& json) { json["runs"][0].erase("clients"); }));
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_FALSE(back->runs[0].clients);
}

TEST(RunRecord, ForeignTextIsCorrupt) {
    expect_corrupt("", "parse error");
    expect_corrupt("[1, 2]", "no version");
    expect_corrupt("{}", "no version");
    expect_corrupt(R"({"version": 1, "runs": 7})", "array");
    expect_corrupt(changed([](auto& json) { json["version"] = 2; }), "version 2 instead of 1");
    expect_corrupt(changed([](auto& json) { json["runs"][0]["method"] = "magic"; }), "magic");
    expect_corrupt(changed([](auto& json) { json["runs"][0]["clients"] = "none"; }), "type");
}

TEST(RunRecord, FiguresThatContradictEachOtherAreCorrupt) {
    expect_corrupt(changed([](auto& json) { json["runs"][0]["series"][0]["values"].push_back(1); }),
                   "120 times and 121 values");
    expect_corrupt(changed([](auto& json) { json["runs"][0]["series"][0]["at_ns"][5] = -1; }),
                   "its times go back");
    expect_corrupt(changed([](auto& json) { json["runs"][0]["crossings"][0]["to"] = 3; }),
                   "no platform 3");
    expect_corrupt(changed([](auto& json) { json["runs"][0]["scenario"] = "../1"; }),
                   "no scenario ../1");
    expect_corrupt(
        changed([](auto& json) { json["runs"][0]["crossings"][0]["phases"][1]["end_ns"] = 1; }),
        "frozen ends before it begins");
}

TEST(RunRecord, AFileIsMadeWithItsDirectory) {
    const std::filesystem::path root =
        std::filesystem::path(testing::TempDir()) / "ferry-run-record-test";
    const std::string path = root / "lab" / "record.json";
    ASSERT_TRUE(save_record(path, sample_record_for_tests()).has_value());
    const Result<LabRecord> back = load_record(path);
    ASSERT_TRUE(back.has_value()) << back.error().message();
    EXPECT_EQ(*back, sample_record_for_tests());
    std::filesystem::remove_all(root);
    const Result<LabRecord> gone = load_record(path);
    ASSERT_FALSE(gone.has_value());
    EXPECT_THAT(gone.error().message(), HasSubstr("ENOENT"));
}

TEST(RunClock, CountsFromItsMaking) {
    const RunClock clock;
    const std::int64_t first = clock.now_ns();
    EXPECT_GE(first, 0);
    EXPECT_GE(clock.now_ns(), first);
    EXPECT_LT(first, std::int64_t{60} * 1'000'000'000);
}

}  // namespace
}  // namespace ferry::lab
