#include "lab/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "lab/crossing_record.h"
#include "lab/record_figures.h"

namespace ferry::lab {
namespace {

TEST(Machine, IsDescribedByItsKernel) {
    const MachineRecord machine = describe_machine();
    EXPECT_THAT(machine.kernel, testing::ContainsRegex("^[0-9]+\\.[0-9]+"));
    EXPECT_NE(machine.cpu, "");
    EXPECT_EQ(machine.cpus, static_cast<int>(std::thread::hardware_concurrency()));
    EXPECT_GT(machine.memory, 100u << 20);
    EXPECT_THAT(machine.date, testing::ContainsRegex("^20[0-9-]+T[0-9:]+Z$"));
}

TEST(Machine, AVersionIsFoundInWhatProgramsSay) {
    EXPECT_EQ(find_version("runc version 1.1.5+ds1\ncommit: 1.1"), "1.1.5+ds1");
    EXPECT_EQ(find_version("nginx version: nginx/1.22.1"), "1.22.1");
    EXPECT_EQ(find_version("Redis server v=7.0.15 sha=00000000:0"), "7.0.15");
    EXPECT_EQ(find_version("mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for linux"),
              "10.11.6-MariaDB-0+deb12u1");
    EXPECT_EQ(find_version("PHP 8.2.7 (fpm-fcgi) (built: Jun  9 2023)"), "8.2.7");
    EXPECT_EQ(find_version("ferry 0.1.0"), "0.1.0");
    EXPECT_EQ(find_version("no number 7 here, x86.1"), "");
    EXPECT_EQ(find_version(""), "");
}

TEST(Machine, AProgramThatIsNotThereIsSaidToBeSo) {
    os::Launch there, absent;
    there.arguments = {"sh", "-c", "echo tool 3.14 >&2"};
    absent.arguments = {"/nonexistent/program", "--version"};
    EXPECT_EQ(ask_version("tool", std::move(there)).version, "3.14");
    EXPECT_EQ(ask_version("absent", std::move(absent)).version, "not there");
}

TEST(Machine, TheProgramsOfAContainerAreAskedInsideIt) {
    const std::string root =
        (std::filesystem::path(testing::TempDir()) / "ferry-machine-test").string();
    std::filesystem::create_directories(root + "/usr/sbin");
    EXPECT_EQ(program_versions(root).size(), 2u);  // ferry and runc
    // Without its libraries it cannot be started there.
    std::filesystem::copy_file("/bin/sh", root + "/usr/sbin/nginx",
                               std::filesystem::copy_options::overwrite_existing);
    const std::vector<ProgramVersion> versions = program_versions(root);
    std::filesystem::remove_all(root);
    ASSERT_EQ(versions.size(), 3u);
    EXPECT_EQ(versions[2].program, "nginx");
    EXPECT_EQ(versions[2].version, "unknown");
}

TEST(CrossingRecord, PlacesTheReportsTimesBeforeItsEnd) {
    migrate::Report report;
    report.succeeded = true;
    report.total_ms = 1000;
    report.precopy_ms = 900;
    report.frozen_ms = 50;
    report.checkpoint_ms = 20;
    report.restore_ms = 15;
    report.rounds = {{.number = 1, .pages = 10, .bytes = 40960, .milliseconds = 800}};
    report.objects_before = {
        .processes = 1, .threads = 4, .files = 9, .sockets = 3, .mappings = 40};
    const CrossingRecord record =
        crossing_record(report, {.number = 1, .from = 2, .to = 1, .ended_ns = 5'000'000'000});
    const PhaseRecord* frozen = find_phase(record, PhaseKind::Frozen);
    const PhaseRecord* restore = find_phase(record, PhaseKind::Restore);
    ASSERT_TRUE(frozen != nullptr && restore != nullptr);
    EXPECT_EQ(frozen->begin_ns, 4'900'000'000);
    EXPECT_EQ(frozen->end_ns, 4'950'000'000);
    EXPECT_EQ(restore->platform, 1);
    EXPECT_EQ(restore->begin_ns, 4'920'000'000);
    EXPECT_EQ(find_phase(record, PhaseKind::Total)->end_ns, 5'000'000'000);
    EXPECT_EQ(record.rounds.at(0).bytes, 40960u);
    EXPECT_EQ(record.counts.at(0).before->sockets, 3u);
}

TEST(CrossingRecord, AFailureHasItsReasonAndNoFreeze) {
    migrate::Report report;
    report.error = "refused";
    report.total_ms = 20;
    const CrossingRecord record = crossing_record(report, {.number = 1, .from = 1, .to = 2});
    EXPECT_EQ(record.error, "refused");
    EXPECT_FALSE(record.succeeded);
    EXPECT_EQ(find_phase(record, PhaseKind::Frozen), nullptr);
    EXPECT_FALSE(record.service_memory_before.has_value());
}

}  // namespace
}  // namespace ferry::lab
