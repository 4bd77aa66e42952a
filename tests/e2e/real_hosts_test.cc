// `ferry lab run` on two machines that it reaches by ssh: the lab's platforms, each with an sshd of
// its own, taken for real hosts. The lab itself runs where the clients are.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>

#include <filesystem>

#include "fixture.h"
#include "lab/container.h"
#include "lab/platform.h"
#include "lab/record_figures.h"
#include "lab/run_record.h"
#include "lab/site_bundle.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

constexpr const char* kSsh = "/run/lab/ssh";
constexpr const char* kStorage = "/run/ferry/sites";  // each platform has its own

class RealHosts : public TwoPlatformsTest {
  protected:
    void SetUp() override {
        TwoPlatformsTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        shell(
            fmt::format("mkdir -p {0} /run/sshd && ssh-keygen -q -t ed25519 -N '' -f {0}/host && "
                        "ssh-keygen -q -t ed25519 -N '' -f {0}/user",
                        kSsh));
        for (std::size_t i = 0; i < 2; ++i) start_sshd(i);
        const auto config = client().write_file(
            config_path(), fmt::format("Host *\n  User root\n  IdentityFile {0}/user\n"
                                       "  UserKnownHostsFile {0}/known\n"
                                       "  StrictHostKeyChecking accept-new\n"
                                       "Host first\n  HostName 10.77.0.11\n",
                                       kSsh));
        ASSERT_OK(config);
        const auto added =
            client().run_checked({"ip", "addr", "add", "10.77.0.2/24", "dev", "eth0"}, 20s);
        ASSERT_OK(added);
    }

    void start_sshd(std::size_t i) {
        const Host& host = platform(i).host();
        ASSERT_OK(mount_cgroups(host));
        ASSERT_OK(add_bridge(host, "lan"));
        sshd_[i] = os::ChildProcess();
        auto started = os::ChildProcess::start(host.launch(
            {"/usr/sbin/sshd", "-D", "-f", "/dev/null", "-h", fmt::format("{}/host", kSsh), "-o",
             fmt::format("AuthorizedKeysFile={}/user.pub", kSsh), "-o", "StrictModes=no", "-o",
             "UsePAM=no", "-o", "PermitRootLogin=prohibit-password", "-o", "PidFile=none", "-o",
             fmt::format("ListenAddress={}", platform(i).address())}));
        ASSERT_OK(started);
        sshd_[i] = std::move(*started);
    }

    void TearDown() override {
        for (os::ChildProcess& each : sshd_) each = {};
        lab_.reset();
        std::error_code ignored;
        if (!empty_.empty()) std::filesystem::remove_all(empty_, ignored);
    }

    Host& client() { return lab_->client(); }
    static std::string config_path() { return fmt::format("{}/config", kSsh); }

    std::vector<std::string> lab_words(const std::string& first, const std::string& second,
                                       std::vector<std::string> more = {},
                                       const std::string& scenario = "1") {
        std::vector<std::string> words =
            platform(0).ferry({"lab", "run", scenario, "--platform1", first, "--platform2", second,
                               "--ssh-config", config_path(), "--runtime-root", kRuncRoot,
                               "--storage", kStorage, "--requests", "4", "-o", "/run/lab/report"});
        if (std::ranges::find(more, "--remote-ferry") == more.end()) {
            more.insert(more.end(), {"--remote-ferry", platform(0).ferry({})[0]});
        }
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    CommandResult lab_run(const std::string& first, const std::string& second,
                          std::vector<std::string> more = {}) {
        auto result = client().run(lab_words(first, second, std::move(more)), 280s);
        EXPECT_OK(result);
        return result.value_or(CommandResult{});
    }

    // The second machine has no site yet.
    void take_the_site_away() {
        empty_ = "/var/tmp/ferry-e2e-XXXXXX";
        ASSERT_NE(::mkdtemp(empty_.data()), nullptr);
        const auto hidden =
            platform(1).host().run_checked({"mount", "--bind", empty_, default_cache()}, 20s);
        ASSERT_OK(hidden);
    }

    // No container, no files, none of our processes.
    void expect_clean() {
        for (std::size_t i = 0; i < 2; ++i) {
            const auto left = platform(i).host().run(
                {"sh", "-c",
                 fmt::format("runc --root {} list -q; ls {} 2>/dev/null; ls -d {}/*arriving* "
                             "2>/dev/null; pgrep -fa '[l]ab sample|[f]erry migrate'; true",
                             kRuncRoot, kStorage, default_cache())},
                20s);
            ASSERT_OK(left);
            EXPECT_EQ(left->out, "");
        }
    }

    // As Ctrl-C, once a script on a machine has found what it waits for.
    void interrupt_when(std::size_t where, const std::string& script) {
        const std::string log = client().path("/run/lab/interrupted.log");
        const auto output = os::openat(os::kCwd, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ASSERT_OK(output);
        os::Launch launch = client().launch(lab_words("first", "10.77.0.12"));
        launch.stdout_fd = launch.stderr_fd = output->get();
        auto lab = os::ChildProcess::start(launch);
        ASSERT_OK(lab);
        for (;;) {
            const auto found = platform(where).host().run({"sh", "-c", script}, 20s);
            ASSERT_OK(found);
            if (found->status == 0) break;
            const auto ended = lab->wait(50ms);
            ASSERT_OK(ended);
            ASSERT_FALSE(ended->has_value()) << os::read_file(os::kCwd, log).value_or("");
        }
        ASSERT_OK(lab->send_signal(SIGINT));
        const auto status = lab->wait(100s);
        ASSERT_OK(status);
        EXPECT_EQ(status->value_or(-1), 128 + SIGINT);
        expect_clean();
    }

    // Nothing was started; what is wrong is one line.
    static void expect_refusal(const CommandResult& result, const std::string& why) {
        EXPECT_NE(result.status, 0);
        EXPECT_THAT(result.err, HasSubstr(why));
        EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    }

    os::ChildProcess sshd_[2];
    std::string empty_;
};

TEST_F(RealHosts, RunScenarioOneAndAreLeftClean) {
    const CommandResult result = lab_run("first", "root@10.77.0.12:22");
    if (result.err.find("no network") != std::string::npos) GTEST_SKIP() << result.err;
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    const auto record = load_record(client().path("/run/lab/report/record.json"));
    ASSERT_OK(record);
    ASSERT_EQ(record->runs.size(), 1u);
    const RunRecord& run = record->runs[0];
    EXPECT_TRUE(run.succeeded) << run.error;
    ASSERT_EQ(run.crossings.size(), 1u);
    const CrossingRecord& crossing = run.crossings[0];
    ASSERT_TRUE(crossing.succeeded) << crossing.error;
    EXPECT_TRUE(memory_ratio(crossing));
    ASSERT_TRUE(run.clients && run.clients->comments_acknowledged);
    EXPECT_EQ(run.clients->comments_found_once, run.clients->comments_acknowledged);
    // Samples came from both machines: the site was on one, then on the other.
    for (const int platform : {1, 2}) {
        for (const auto& [quantity, subject] :
             {std::pair(Quantity::ContainerMemory, "site1"), std::pair(Quantity::Cpu, "ferryd"),
              std::pair(Quantity::HostMemory, "host"), std::pair(Quantity::SendRate, "lan")}) {
            EXPECT_TRUE(std::ranges::any_of(run.series,
                                            [&](const Series& series) {
                                                return series.platform == platform &&
                                                       series.quantity == quantity &&
                                                       series.subject == subject &&
                                                       series.values.size() > 3;
                                            }))
                << name_of(quantity) << " of " << subject << " on platform " << platform;
        }
    }
    const PhaseRecord* restore = find_phase(crossing, PhaseKind::Restore);
    ASSERT_NE(restore, nullptr);
    EXPECT_TRUE(restore->memory_after.container);
    expect_clean();
}

// The link's rate is nobody's word: it is measured, and what is written is scaled to it.
TEST_F(RealHosts, RunScenarioDirtyOnALinkThatTheyMeasure) {
    constexpr double kRate = 4e8;
    for (std::size_t i = 0; i < 2; ++i) ASSERT_OK(limit_rate(platform(i).host(), kRate));
    const auto ran = client().run(lab_words("first", "10.77.0.12", {}, "dirty"), 280s);
    ASSERT_OK(ran);
    ASSERT_EQ(ran->status, 0) << ran->out << ran->err;
    const auto record = load_record(client().path("/run/lab/report/record.json"));
    ASSERT_OK(record);
    const auto& link = record->settings.link_bits_per_second;
    ASSERT_TRUE(link);
    // Of what the limit lets through, headers and the load of this machine take some.
    EXPECT_GT(*link, kRate / 10);
    EXPECT_LT(*link, kRate * 1.1);
    ASSERT_EQ(record->runs.size(), 1u);
    const RunRecord& run = record->runs[0];
    EXPECT_TRUE(run.succeeded) << run.error;
    ASSERT_EQ(run.crossings.size(), 2u);
    ASSERT_TRUE(run.crossings[0].method_change && run.crossings[1].method_change);
    EXPECT_EQ(run.crossings[0].method_change->to, "stop-and-copy");
    EXPECT_THAT(run.crossings[1].method_change->to, HasSubstr("slowed down"));
    for (const int platform : {1, 2}) {
        EXPECT_TRUE(std::ranges::any_of(run.series, [&](const Series& series) {
            return series.platform == platform && series.quantity == Quantity::ContainerMemory &&
                   series.subject == "writer1";
        })) << platform;
    }
    const auto report = client().run_checked(
        {"sh", "-c", "cat /run/lab/report/report.html; ls /run/lab/report/plots"}, 20s);
    ASSERT_OK(report);
    EXPECT_THAT(*report, HasSubstr("Dirty rate against bandwidth"));
    expect_clean();
}

TEST_F(RealHosts, TheSiteIsBroughtToAMachineThatLacksIt) {
    take_the_site_away();
    const CommandResult result = lab_run("first", "10.77.0.12");
    if (result.err.find("no network") != std::string::npos) GTEST_SKIP() << result.err;
    ASSERT_EQ(result.status, 0) << result.out << result.err;
    expect_clean();
    const auto there =
        platform(1).host().run_checked({"sh", "-c", fmt::format("ls {}", default_cache())}, 20s);
    ASSERT_OK(there);
    EXPECT_THAT(*there, HasSubstr("site-"));
}

TEST_F(RealHosts, AnInterruptLeavesNothingOnEither) {
    InterruptGuard guard;
    const auto bundle = build_site({}, guard);
    if (!bundle && bundle.error().message().find("no network") != std::string::npos) {
        GTEST_SKIP() << bundle.error().message();
    }
    ASSERT_OK(bundle);
    // While the site crosses.
    interrupt_when(0, "pgrep -f '^[^ ]*ferry migrate'");
    // While it is brought there.
    take_the_site_away();
    interrupt_when(1, fmt::format("ls {}/*arriving*/rootfs/usr", default_cache()));
}

TEST_F(RealHosts, WhatAMachineLacksIsOneLine) {
    expect_refusal(lab_run("first", "10.77.0.12:2222"),
                   "platform 2 (10.77.0.12:2222): not reached by ssh: ");
    expect_refusal(lab_run("first", "10.77.0.12", {"--remote-ferry", "/no/ferry"}),
                   "platform 1 (first): there is no /no/ferry");
    expect_refusal(lab_run("first", "10.77.0.12", {"--bridge", "other"}),
                   "platform 1 (first): there is no bridge other");
    shell(
        fmt::format("printf '#!/bin/sh\\necho ferry 9.9.9\\n' > {0}/old; chmod 755 {0}/old", kSsh));
    expect_refusal(lab_run("first", "10.77.0.12", {"--remote-ferry", fmt::format("{}/old", kSsh)}),
                   "it has \"ferry 9.9.9\", this is \"ferry ");
    platform(1).agent() = {};
    expect_refusal(lab_run("first", "10.77.0.12"),
                   "platform 2 (10.77.0.12): its agent does not answer: ");
}

}  // namespace
}  // namespace ferry::lab
