#include "lab/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "lab/markup.h"
#include "lab/paper.h"
#include "lab/plot.h"
#include "lab/record_figures.h"
#include "lab/report_plots.h"
#include "lab/report_words.h"
#include "lab/sample_record.h"
#include "lab/verdict.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A directory of its own that goes with the test.
class ReportTest : public testing::Test {
  protected:
    void SetUp() override {
        directory_ = (std::filesystem::path(testing::TempDir()) /
                      ("ferry-report-test-" + std::to_string(::getpid())))
                         .string();
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string render(const LabRecord& record) {
        const Result<std::string> path = write_lab_report(record, directory_);
        EXPECT_TRUE(path.has_value()) << (path ? "" : path.error().message());
        return path ? read("report.html") : "";
    }
    std::string read(const std::string& name) {
        return os::read_file(directory_ + "/" + name).value_or("");
    }

    std::string directory_;
};

const Verdict& verdict_on(const std::vector<Verdict>& verdicts, const std::string& beginning) {
    for (const Verdict& verdict : verdicts) {
        if (verdict.figure.starts_with(beginning)) return verdict;
    }
    ADD_FAILURE() << "no verdict on " << beginning;
    return verdicts.front();
}

LabRecord with_pause(double milliseconds) {
    LabRecord record = sample_record_for_tests();
    record.runs[0].clients->longest_pause_ms = milliseconds;
    return record;
}

TEST(Verdict, TheWorstPauseOfAllRunsDecides) {
    const auto standing = [](const LabRecord& record) {
        return verdict_on(judge(record), "longest pause").standing;
    };
    EXPECT_EQ(standing(with_pause(50)), Standing::Aimed);
    EXPECT_EQ(standing(with_pause(51)), Standing::Reached);
    EXPECT_EQ(standing(with_pause(300)), Standing::Reached);
    EXPECT_EQ(standing(with_pause(301)), Standing::Missed);
    LabRecord two = with_pause(40);
    two.runs.push_back(two.runs[0]);
    two.runs.back().crossings[1].clients->longest_pause_ms = 400;
    EXPECT_EQ(standing(two), Standing::Missed);
}

TEST(Verdict, OneLostCommentIsOneTooMany) {
    LabRecord record = sample_record_for_tests();
    EXPECT_EQ(verdict_on(judge(record), "failed").standing, Standing::Aimed);
    EXPECT_EQ(verdict_on(judge(record), "comments").standing, Standing::Aimed);
    record.runs[0].clients->comments_lost = 1;
    record.runs[0].clients->comments_found_once = 76;
    EXPECT_EQ(verdict_on(judge(record), "failed").standing, Standing::Missed);
    EXPECT_EQ(verdict_on(judge(record), "comments").standing, Standing::Missed);
    EXPECT_EQ(verdict_on(judge(record), "comments").measured, "76 of 77");
}

TEST(Verdict, WhatWasNotMeasuredIsNotReached) {
    LabRecord record = sample_record_for_tests();
    EXPECT_EQ(verdict_on(judge(record), "the same, three").standing, Standing::NotMeasured);
    record.runs[0].clients->broken_connections.reset();
    EXPECT_EQ(verdict_on(judge(record), "failed").standing, Standing::NotMeasured);
    record.runs.clear();
    for (const Verdict& verdict : judge(record)) {
        EXPECT_EQ(verdict.standing, Standing::NotMeasured) << verdict.figure;
        EXPECT_EQ(verdict.measured, "") << verdict.figure;
    }
}

TEST(Verdict, MemoryAndTheMethodCheckpointHaveTheirOwnMeasures) {
    LabRecord record = sample_record_for_tests();
    EXPECT_EQ(verdict_on(judge(record), "memory").standing, Standing::Reached);  // 151 over 150
    record.runs[0].crossings[0].service_memory_after = 170u << 20;
    EXPECT_EQ(verdict_on(judge(record), "memory").standing, Standing::Missed);
    EXPECT_EQ(verdict_on(judge(record), "checkpoint, method").standing, Standing::Missed);
    for (CrossingRecord& crossing : record.runs[1].crossings) {
        for (PhaseRecord& phase : crossing.phases) phase.end_ns = phase.begin_ns + 80'000'000;
    }
    EXPECT_EQ(verdict_on(judge(record), "checkpoint, method").standing, Standing::Aimed);
    EXPECT_EQ(verdict_on(judge(record), "restore, method").standing, Standing::Aimed);
}

TEST(RecordFigures, AMedianLiesBetweenTheMiddleTwo) {
    EXPECT_FALSE(spread({}).has_value());
    EXPECT_EQ(spread({3, 1, 2})->median, 2);
    EXPECT_EQ(spread({4, 1, 2, 3})->median, 2.5);
    EXPECT_EQ(spread({4, 1, 2, 3})->greatest, 4);
}

TEST(RecordFigures, PhasesOfContainersThatFollowEachOtherAddUp) {
    LabRecord record = sample_record_for_tests();
    RunRecord& run = record.runs[1];
    const auto alone = phase_figure(run, PhaseKind::Checkpoint, 1);
    ASSERT_TRUE(alone.has_value());
    EXPECT_EQ(alone->milliseconds, 300);
    run.crossings.push_back(run.crossings[0]);
    for (PhaseRecord& phase : run.crossings.back().phases) {
        phase.begin_ns += 1'000'000'000;
        phase.end_ns += 1'000'000'000;
        phase.memory_after.host = 7;
    }
    const auto both = phase_figure(run, PhaseKind::Checkpoint, 1);
    EXPECT_EQ(both->milliseconds, 600);
    EXPECT_EQ(both->memory_before, alone->memory_before);
    EXPECT_EQ(both->memory_after.host, 7u);
    run.crossings.back().succeeded = false;
    EXPECT_EQ(phase_figure(run, PhaseKind::Checkpoint, 1)->milliseconds, 300);
    // Of two that crossed together, the second begins a little later and ends a little later.
    run.crossings.push_back(run.crossings[0]);
    for (PhaseRecord& phase : run.crossings.back().phases) {
        phase.begin_ns += 20'000'000;
        phase.end_ns += 20'000'000;
    }
    EXPECT_EQ(phase_figure(run, PhaseKind::Checkpoint, 1)->milliseconds, 320);
}

TEST(Paper, HasNoFigureWhereTheNotesHaveNone) {
    EXPECT_EQ(paper_figure("2", 1, PhaseKind::Checkpoint), nullptr);
    ASSERT_NE(paper_figure("1", 2, PhaseKind::Restore), nullptr);
    EXPECT_FALSE(paper_figure("1", 2, PhaseKind::Restore)->seconds.has_value());
    EXPECT_EQ(paper_figure("3", 2, PhaseKind::Restore)->seconds, 18.111);
}

TEST(Markup, FiguresCarryTheirUnits) {
    EXPECT_EQ(duration_text(4.26), "4.3 ms");
    EXPECT_EQ(duration_text(48.4), "48 ms");
    EXPECT_EQ(duration_text(999.7), "1.00 s");
    EXPECT_EQ(duration_text(44800), "44.8 s");
    EXPECT_EQ(gigabytes_text(1.69e9), "1.69 GB");
    EXPECT_EQ(gigabytes_text(0.0512e9), "0.051 GB");
    EXPECT_EQ(bytes_text(999), "999 B");
    EXPECT_EQ(bytes_text(12.34e6), "12.3 MB");
    EXPECT_EQ(escaped("<a href='x'>&\"\x01"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot; ");
}

TEST_F(ReportTest, StandsAloneAndNamesItsFiles) {
    const std::string html = render(sample_record_for_tests());
    EXPECT_THAT(html, Not(HasSubstr("<script")));
    EXPECT_THAT(html, Not(HasSubstr("src=")));
    EXPECT_THAT(html, Not(HasSubstr("<link")));
    for (const char* part :
         {"Scenario III", "When pre-copy cannot win", "44.8 s", "18.111 s", "prefers-color-scheme",
          "not measured", "Rounds of the pre-copy", "invented service"}) {
        EXPECT_THAT(html, HasSubstr(part));
    }
    // Every plot that the page offers is there, in both forms.
    std::size_t plots = 0;
    for (std::size_t at = 0; (at = html.find("href=\"plots/s", at)) != std::string::npos; ++at) {
        const std::size_t from = at + 6;
        const std::string name = html.substr(from, html.find('"', from) - from);
        const std::string file = read(name);
        EXPECT_THAT(file, HasSubstr(name.ends_with(".svg") ? "</svg>" : "\x89PNG")) << name;
        ++plots;
    }
    EXPECT_EQ(plots, 2u * (6 + 6 + 6 + 1));
    const Result<LabRecord> kept = record_from_json(read("record.json"));
    ASSERT_TRUE(kept.has_value());
    EXPECT_EQ(*kept, sample_record_for_tests());
}

TEST_F(ReportTest, RendersWhatAnAbortedRunLeft) {
    EXPECT_THAT(render(LabRecord{}), HasSubstr("0 of 7 figures reached"));
    LabRecord record = sample_record_for_tests();
    record.runs.resize(1);
    RunRecord& run = record.runs[0];
    run.succeeded = false;
    run.error = "the link was cut";
    run.clients.reset();
    run.series.clear();
    run.crossings[1] = CrossingRecord{};
    run.crossings[1].number = 2;
    run.crossings[1].from = 2;
    run.crossings[1].to = 1;
    run.crossings[1].error = "refused by name";
    const std::string html = render(record);
    EXPECT_THAT(html, HasSubstr("Scenario III, method live, run 1: the link was cut"));
    EXPECT_THAT(html, HasSubstr("crossing 2 (platform 2 to 1): refused by name"));
    EXPECT_THAT(html, HasSubstr("2 things failed"));
    EXPECT_THAT(html, Not(HasSubstr("Over time")));
}

TEST_F(ReportTest, ForeignWordsBecomeNeitherMarkupNorCommands) {
    const std::string trap = directory_ + "-trap";
    std::filesystem::remove(trap);
    const std::string evil =
        "</title><script>1</script>'; system('touch " + trap + "'); print '\n`touch " + trap + "`";
    LabRecord record = sample_record_for_tests();
    record.settings.service = record.settings.command_line = record.machine.cpu = evil;
    for (RunRecord& run : record.runs) {
        run.error = evil;
        run.succeeded = false;
        run.marks[0].text = evil;
        run.crossings[0].stop_rule = evil;
        for (Series& series : run.series) series.subject = evil;
    }
    record.runs[2].crossings[0].method_change->reason = evil;
    record.runs[2].crossings[0].method_change->to = evil;
    record.runs[2].crossings[0].method_change->estimates[0].remark = evil;
    const std::string html = render(record);
    EXPECT_THAT(html, AllOf(Not(HasSubstr("<script")), HasSubstr("&lt;script&gt;1")));
    EXPECT_FALSE(std::filesystem::exists(trap));
}

TEST(SamplesCsv, QuotesWhatCouldBeMisread) {
    LabRecord record;
    record.runs.resize(1);
    record.runs[0].scenario = "1";
    record.runs[0].number = 2;
    Series series{Quantity::Delay, 0, "a \"b\", c", {}, {}};
    series.add(1'500'000'000, 12.25);
    record.runs[0].series.push_back(series);
    EXPECT_EQ(samples_csv(record),
              "scenario,method,run,quantity,unit,platform,subject,seconds,value\r\n"
              "1,live,2,delay,ms,,\"a \"\"b\"\", c\",1.500000,12.25\r\n");
}

TEST(SamplesCsv, HasTheFiguresOfEachRound) {
    const std::string csv = samples_csv(sample_record_for_tests());
    EXPECT_THAT(csv,
                AllOf(HasSubstr("dirty,live,1,round written again,bytes,1,\"crossing 1 round 2\","
                                "4.480000,2097152\r\n"),
                      HasSubstr(",round sent,bytes,1,\"crossing 1 round 3 in the freeze\","),
                      // Nobody looked at what was written in the freeze.
                      Not(HasSubstr(",round written again,bytes,1,\"crossing 1 round 3"))));
}

TEST(RecordFigures, ProcessorsOfACrossingAreThoseWithinIt) {
    RunRecord run = sample_record_for_tests().runs[0];
    Series series{Quantity::Cpu, 1, "ferryd", {}, {}};
    // Two processors for ever; the crossing takes 1.55 s.
    for (int i = 0; i < 100; ++i) series.add(i * 100'000'000LL, 2);
    run.series = {series};
    EXPECT_NEAR(*cpu_seconds(run, run.crossings[0], 1, {"ferryd"}), 3.1, 1e-6);
    EXPECT_EQ(cpu_seconds(run, run.crossings[0], 2, {"ferryd"}), std::nullopt);
}

TEST_F(ReportTest, APlotIsReadableInLightAndDark) {
    Plot plot;
    plot.name = "p";
    plot.title = "a < b";
    plot.x_label = "time (s)";
    plot.y_label = "memory (MB)";
    plot.curves = {{"first & only", Ink::Platform1, 0, {0, 1, 1, 2}, {1, 2, std::nan(""), 3}}};
    plot.x_to = 2;
    const auto drawn = draw(std::vector<Plot>{plot}, directory_);
    ASSERT_TRUE(drawn.has_value()) << drawn.error().message();
    EXPECT_THAT(drawn->front(), AllOf(HasSubstr("<title>a &lt; b</title>"),
                                      HasSubstr("memory (MB)"), HasSubstr("first &amp; only"),
                                      HasSubstr("viewBox"), HasSubstr(light_colour(Ink::Platform1)),
                                      Not(HasSubstr("rgb(")), Not(HasSubstr(" id="))));
    const std::string file = read("p.svg");
    EXPECT_THAT(file, AllOf(HasSubstr("<?xml"), HasSubstr("prefers-color-scheme:dark"),
                            HasSubstr(dark_colour(Ink::Platform1))));
}

TEST(ReportPlots, APeakAmongManyPointsIsKept) {
    RunRecord run;
    Series series{Quantity::ProbeDelay, 0, "site", {}, {}};
    for (int i = 0; i < 20000; ++i) series.add(i * 10'000'000LL, i == 7777 ? 500 : 1 + i % 3);
    run.series = {series};
    for (const TimelineKind& kind : timeline_kinds()) {
        TimelineAxes axes;
        widen(axes, run, kind);
        const auto plot = timeline(run, kind, axes, "p");
        ASSERT_EQ(plot.has_value(), kind.name == "probe");
        if (!plot) continue;
        const Curve& curve = plot->curves.at(0);
        EXPECT_LE(curve.x.size(), 1400u);
        EXPECT_TRUE(std::is_sorted(curve.x.begin(), curve.x.end()));
        EXPECT_EQ(*std::max_element(curve.y.begin(), curve.y.end()), 500);
        EXPECT_EQ(*std::min_element(curve.y.begin(), curve.y.end()), 1);
    }
}

TEST(ReportPlots, AHoleInTheSamplesIsAHoleInTheCurve) {
    RunRecord run;
    Series series{Quantity::Cpu, 1, "site", {}, {}};
    for (int i = 0; i < 100; ++i) series.add((i < 50 ? i : i + 40) * 100'000'000LL, 1);
    run.series = {series};
    const TimelineKind& cpu = timeline_kinds().at(1);
    TimelineAxes axes;
    widen(axes, run, cpu);
    const auto plot = timeline(run, cpu, axes, "p");
    ASSERT_TRUE(plot.has_value());
    EXPECT_EQ(std::count_if(plot->curves.at(0).y.begin(), plot->curves.at(0).y.end(),
                            [](double y) { return std::isnan(y); }),
              1);
}

TEST_F(ReportTest, ADirectoryThatCannotBeMadeIsNamed) {
    const auto written = write_lab_report(sample_record_for_tests(), "/proc/ferry-report");
    ASSERT_FALSE(written.has_value());
    EXPECT_THAT(written.error().message(), HasSubstr("/proc/ferry-report"));
}

}  // namespace
}  // namespace ferry::lab
