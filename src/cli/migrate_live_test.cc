// `ferry migrate` and its sisters as a user meets them: exit codes, what is printed where, Ctrl-C.
// The agents rehearse their sessions (src/agent/rehearsal.cc).
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/test_daemon.h"
#include "cli/command.h"

namespace ferry::cli {
namespace {

using agent::eventually;
using agent::kTestPatience;
using agent::NamedProcess;
using agent::TestDaemon;
using testing::HasSubstr;

struct Ended {
    int status = -1;
    std::string out;
    std::string err;
};

class MigrateVerbTest : public testing::Test {
  protected:
    void SetUp() override {
        const std::string pki = directory_.path() + "/pki";
        ASSERT_TRUE(net::init_pki(pki, net::Overwrite::No));
        for (const char* host : {"alpha", "beta"}) {
            ASSERT_TRUE(net::issue_certificate(pki, {.name = host, .also = {"127.0.0.1"}},
                                               net::Overwrite::No));
        }
        alpha_ = std::make_unique<TestDaemon>(directory_.path(), "alpha", agent::free_port());
        beta_ = std::make_unique<TestDaemon>(directory_.path(), "beta", agent::free_port());
    }

    // A running `ferry VERB ... --socket ALPHA`, its output going to files.
    os::ChildProcess start(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), FERRY_PROGRAM);
        arguments.insert(arguments.end(), {"--socket", alpha_->socket()});
        const auto open = [&](const char* name) {
            return std::move(
                *os::open(directory_.path() + "/" + name, O_WRONLY | O_CREAT | O_TRUNC));
        };
        const os::UniqueFd out = open("out");
        const os::UniqueFd err = open("err");
        os::Launch launch;
        launch.arguments = std::move(arguments);
        launch.stdout_fd = out.get();
        launch.stderr_fd = err.get();
        return std::move(*os::ChildProcess::start(launch));
    }
    Ended end(os::ChildProcess child) {
        Ended ended;
        const auto status = child.wait(kTestPatience);
        if (status && status->has_value()) ended.status = **status;
        ended.out = os::read_file(directory_.path() + "/out").value_or("");
        ended.err = os::read_file(directory_.path() + "/err").value_or("");
        return ended;
    }
    Ended run(const std::vector<std::string>& arguments) { return end(start(arguments)); }

    [[nodiscard]] std::vector<std::string> migrate(const NamedProcess& service) const {
        return {"migrate", service.text(), "--to", fmt::format("127.0.0.1:{}", beta_->port())};
    }
    // A migration that waits for its abort, under way on both sides.
    os::ChildProcess start_waiting(const NamedProcess& service) {
        os::ChildProcess child = start(migrate(service));
        CHECK(eventually([&] {
            const auto status = beta_->control().status();
            return status && status->sessions.size() == 1 &&
                   status->sessions[0].state == migrate::SessionState::Ready;
        }));
        return child;
    }

    net::TestDirectory directory_;
    std::unique_ptr<TestDaemon> alpha_;
    std::unique_ptr<TestDaemon> beta_;
};

TEST_F(MigrateVerbTest, SuccessIsExitCodeZeroAndSaysWhereTheServiceRuns) {
    const NamedProcess service(directory_.path(), "rehearse-ok");
    const Ended ended = run(migrate(service));
    EXPECT_EQ(ended.status, kExitOk) << ended.err;
    EXPECT_EQ(ended.err, "");
    EXPECT_THAT(ended.out, HasSubstr("runs at beta"));
    EXPECT_THAT(run({"history"}).out, HasSubstr("alpha -> beta"));
}

TEST_F(MigrateVerbTest, JsonIsOneObjectOnStandardOutput) {
    const NamedProcess service(directory_.path(), "rehearse-ok");
    auto arguments = migrate(service);
    arguments.emplace_back("--json");
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.status, kExitOk);
    const auto json = nlohmann::json::parse(ended.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << ended.out;
    EXPECT_EQ(json["outcome"], "done");
    EXPECT_EQ(json["destination"], "beta");
    EXPECT_TRUE(json["rounds"].is_array());
}

TEST_F(MigrateVerbTest, JsonLinesAreOneObjectEachAndEndWithTheOutcome) {
    const NamedProcess service(directory_.path(), "rehearse-die");
    auto arguments = migrate(service);
    arguments.emplace_back("--json=lines");
    const Ended ended = run(arguments);
    EXPECT_EQ(ended.status, kExitFailure);
    std::vector<std::string> events;
    std::string outcome;
    for (std::size_t at = 0; at < ended.out.size();) {
        const std::size_t line_end = ended.out.find('\n', at);
        const auto json =
            nlohmann::json::parse(ended.out.substr(at, line_end - at), nullptr, false);
        ASSERT_TRUE(json.is_object()) << ended.out;
        events.push_back(json["event"]);
        outcome = json.value("outcome", "");
        at = line_end + 1;
    }
    ASSERT_GE(events.size(), 2u);
    EXPECT_EQ(events.front(), "started");
    EXPECT_EQ(events.back(), "finished");
    EXPECT_EQ(outcome, "failed");
}

TEST_F(MigrateVerbTest, FailureIsOneLineThatSaysTheServiceRunsOn) {
    const NamedProcess service(directory_.path(), "rehearse-die");
    const Ended ended = run(migrate(service));
    EXPECT_EQ(ended.status, kExitFailure);
    EXPECT_THAT(ended.err, HasSubstr("runs on at alpha"));
    EXPECT_EQ(std::ranges::count(ended.err, '\n'), 1);
}

TEST_F(MigrateVerbTest, ControlCWaitsForTheRollBack) {
    const NamedProcess service(directory_.path(), "rehearse-wait");
    os::ChildProcess child = start_waiting(service);
    ASSERT_TRUE(child.send_signal(SIGINT));
    const Ended ended = end(std::move(child));
    EXPECT_EQ(ended.status, kExitFailure);
    EXPECT_THAT(ended.err, HasSubstr("runs on at alpha"));
    EXPECT_EQ(alpha_->last().state, migrate::SessionState::Aborted);
}

TEST_F(MigrateVerbTest, SigkillOfTheCommandAbortsItsSession) {
    const NamedProcess service(directory_.path(), "rehearse-wait");
    os::ChildProcess child = start_waiting(service);
    ASSERT_TRUE(child.send_signal(SIGKILL));
    EXPECT_EQ(end(std::move(child)).status, 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] { return alpha_->last().state == migrate::SessionState::Aborted; }));
    EXPECT_TRUE(eventually([&] { return beta_->last().state == migrate::SessionState::Aborted; }));
}

TEST_F(MigrateVerbTest, AnAgentThatDiesLeavesTheOutcomeUnknown) {
    const NamedProcess service(directory_.path(), "rehearse-wait");
    os::ChildProcess child = start_waiting(service);
    EXPECT_EQ(alpha_->end_with(SIGKILL), 128 + SIGKILL);
    const Ended ended = end(std::move(child));
    EXPECT_EQ(ended.status, kExitUnknown);
    EXPECT_THAT(ended.err, HasSubstr("outcome unknown"));
    alpha_->start();
    EXPECT_TRUE(eventually([&] { return alpha_->last().state == migrate::SessionState::Aborted; }));
}

TEST_F(MigrateVerbTest, AbortNeedsNoIdWhereThereIsOneSession) {
    EXPECT_EQ(run({"abort"}).status, kExitUsage);
    const NamedProcess service(directory_.path(), "rehearse-wait");
    os::ChildProcess child = start_waiting(service);
    EXPECT_THAT(run({"status"}).out, HasSubstr("1 session under way"));
    const Ended aborted = run({"abort"});
    EXPECT_EQ(aborted.status, kExitOk) << aborted.err;
    EXPECT_THAT(aborted.out, HasSubstr("is aborted"));
    EXPECT_EQ(end(std::move(child)).status, kExitFailure);
    EXPECT_THAT(run({"status"}).out, HasSubstr("0 sessions under way"));
}

TEST_F(MigrateVerbTest, WrongUseIsExitCodeTwo) {
    EXPECT_EQ(run({"migrate"}).status, kExitUsage);
    EXPECT_EQ(run({"migrate", "1"}).status, kExitUsage);
    EXPECT_EQ(run({"migrate", "1", "--to", "host:x"}).status, kExitUsage);
    EXPECT_EQ(run({"migrate", "1", "--to", "h", "--json=what"}).status, kExitUsage);
    EXPECT_EQ(run({"migrate", "1", "--to", "h", "--max-downtime", "0"}).status, kExitUsage);
}

TEST_F(MigrateVerbTest, WithoutAnAgentThereIsOneLine) {
    EXPECT_EQ(alpha_->end_with(SIGTERM), 0);
    for (const char* verb : {"status", "history", "abort"}) {
        const Ended ended = run({verb});
        EXPECT_EQ(ended.status, kExitFailure);
        EXPECT_THAT(ended.err, HasSubstr("is ferryd running?"));
        EXPECT_EQ(std::ranges::count(ended.err, '\n'), 1);
    }
}

}  // namespace
}  // namespace ferry::cli
