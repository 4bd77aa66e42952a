// Two platforms with a Redis and its clients, and what must hold after anything that went wrong.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "going_on.h"
#include "lab/system_snapshot.h"
#include "lab/two_platforms.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::lab {

using namespace std::chrono_literals;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().describe()
#define EXPECT_OK(result) EXPECT_TRUE((result).has_value()) << (result).error().describe()

class TwoPlatformsTest : public testing::Test {
  protected:
    static constexpr std::uint64_t kMib = 64;

    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        auto made = TwoPlatforms::create(more_uptime_);
        ASSERT_OK(made);
        lab_ = std::move(*made);
    }

    // Redis on platform 1 with its load, and the state to compare with.
    void start(std::uint64_t mib = kMib, const std::vector<std::string>& redis_arguments = {}) {
        const auto started = lab_->start_service(mib, redis_arguments);
        ASSERT_OK(started);
        LoadOptions load;
        load.writes_per_second = 2000;
        const auto loading = lab_->start_load(load);
        ASSERT_OK(loading);
        std::this_thread::sleep_for(200ms);
        remember();
    }

    void remember() {
        for (std::size_t i = 0; i < 2; ++i) {
            auto snapshot = SystemSnapshot::take(platform(i).host());
            ASSERT_OK(snapshot);
            before_[i] = std::move(*snapshot);
        }
    }

    Platform& platform(std::size_t index) { return lab_->platform(index); }

    // Directory of image files, which both platforms see.
    static constexpr const char* kImages = "/run/lab/images";

    void shell(const std::string& script) {
        const auto result = platform(0).host().run_checked({"sh", "-c", script}, 60s);
        ASSERT_OK(result);
    }
    CommandResult ferry(std::size_t where, const std::vector<std::string>& arguments) {
        auto result = platform(where).run_ferry(arguments, 60s);
        EXPECT_OK(result);
        return result.value_or(CommandResult{});
    }
    static constexpr const char* kKillWorker = "kill -9 $(pgrep -P $(pgrep -o -x ferryd))";
    // A migration from platform 1 to 2 that fails because of `what`, a shell's command on platform
    // `where`, when await_begun() has returned.
    template <class F>
    void expect_to_fail(const std::string& service, F await_begun, std::size_t where,
                        const std::string& what, const std::vector<std::string>& more = {}) {
        const auto words = os::memfd_create("words", 0);
        ASSERT_OK(words);
        std::vector<std::string> arguments = {"migrate", service, "--to", platform(1).address()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        os::Launch launch = platform(0).host().launch(platform(0).ferry(arguments));
        launch.stderr_fd = words->get();
        auto migration = os::ChildProcess::start(launch);
        ASSERT_OK(migration);
        await_begun();
        EXPECT_OK(platform(where).host().run_checked({"sh", "-c", what}, 60s));
        const auto status = migration->wait(240s);
        ASSERT_OK(status);
        EXPECT_NE(status->value_or(0), 0)
            << what << " on " << platform(where).name() << ": "
            << os::read_file(fmt::format("/proc/self/fd/{}", words->get())).value_or("");
    }

    static std::vector<std::string> restore() {
        return {"restore", "-D", kImages, "--tcp-established", "--restore-detached"};
    }

    // The service runs once, on platform `at`, its connections go on, nothing is left behind.
    void expect_unharmed(std::size_t at = 0) {
        const auto here = processes_named(platform(at).host(), "redis-server");
        ASSERT_OK(here);
        EXPECT_THAT(*here, testing::ElementsAre(lab_->service()));
        const auto copies = lab_->copies();
        ASSERT_OK(copies);
        EXPECT_EQ(*copies, 1u);
        expect_load_goes_on();
        for (std::size_t i = 0; i < 2; ++i) expect_as_before(i);
    }

    void expect_load_goes_on() {
        if (!lab_->has_load()) return;
        expect_goes_on(lab_->load());
    }

    void expect_as_before(std::size_t index) {
        // A new agent has a new pid and other ports; its journal and history are meant to stay.
        const auto agents_own = [](const std::string& line) {
            return line.find("ferryd") != std::string::npos ||
                   line.find("/run/ferry/state") != std::string::npos;
        };
        const auto differences =
            lasting_differences(platform(index).host(), before_[index], agents_own);
        ASSERT_OK(differences);
        EXPECT_THAT(*differences, testing::IsEmpty()) << "on " << platform(index).name();
    }

    // Ends the load and looks for every write.
    void expect_nothing_lost() {
        const auto stopped = lab_->load().stop();
        ASSERT_OK(stopped);
        const auto verified = lab_->load().verify();
        ASSERT_OK(verified);
        EXPECT_EQ(verified->lost, 0u);
        EXPECT_EQ(verified->foreign, 0u);
        EXPECT_EQ(verified->probe_errors, 0u);
    }

    // Runs `ferry ARGUMENTS` on platform 1, which must fail; the last line it says must have
    // `reason`.
    void expect_refused(const std::vector<std::string>& arguments, const std::string& reason) {
        const auto result = platform(0).run_ferry(arguments, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_LT(result->status, 128) << "killed by a signal";
        std::string last = result->err.substr(0, result->err.find_last_not_of('\n') + 1);
        last.erase(0, last.rfind('\n') + 1);
        EXPECT_THAT(last,
                    testing::AllOf(testing::StartsWith("ferry: "), testing::HasSubstr(reason)))
            << result->err;
    }

    [[nodiscard]] std::string service_pid() const { return std::to_string(lab_->service().value); }

    std::chrono::seconds more_uptime_{0};  // platform 2's, before SetUp()
    std::unique_ptr<TwoPlatforms> lab_;
    SystemSnapshot before_[2];
};

}  // namespace ferry::lab
