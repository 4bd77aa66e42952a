// `ferry lab build` where it cannot succeed: one line that says why, and nothing left behind. That
// it succeeds, site_test shows.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "lab/command.h"
#include "lab/platform.h"
#include "os/endpoint.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

class SiteBuildTest : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        std::string name = "/tmp/ferry-site-build-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        cache_ = name;
    }
    void TearDown() override {
        if (!cache_.empty()) fs::remove_all(cache_);
    }

    [[nodiscard]] std::string ferry() const { return *program_directory() + "/ferry"; }
    CommandResult run_line(std::vector<std::string> arguments) {
        os::Launch launch;
        launch.arguments = std::move(arguments);
        auto result = run(std::move(launch), 120s);
        EXPECT_TRUE(result) << result.error().describe();
        return result ? *result : CommandResult{};
    }
    void expect_one_line(const CommandResult& result, const std::string& why) {
        EXPECT_EQ(result.status, 1);
        EXPECT_EQ(result.out, "");
        EXPECT_THAT(result.err, HasSubstr(why));
        EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    }
    void expect_empty_cache() {
        for (const auto& entry : fs::directory_iterator(cache_)) {
            EXPECT_EQ(entry.path().filename(), "lock");
        }
        EXPECT_THAT(*os::read_file("/proc/self/mounts"), testing::Not(HasSubstr(cache_)));
    }
    // Whose command lines name the cache.
    [[nodiscard]] int processes() const {
        int count = 0;
        for (const auto& entry : fs::directory_iterator("/proc")) {
            const auto line = os::read_file(entry.path().string() + "/cmdline");
            if (line && line->find(cache_) != std::string::npos) ++count;
        }
        return count;
    }

    // A mirror that takes connections and never answers, and a build that waits for it.
    os::ChildProcess start_waiting_build() {
        mirror_ = std::move(*os::socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in loopback = {};
        loopback.sin_family = AF_INET;
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_TRUE(os::bind(mirror_.get(), os::make_address(loopback)));
        EXPECT_TRUE(os::listen(mirror_.get(), 50));
        const auto port = os::getsockname(mirror_.get())->port();
        os::Launch launch;
        launch.arguments = {ferry(),
                            "lab",
                            "build",
                            "--cache",
                            cache_,
                            "--mirror",
                            "http://127.0.0.1:" + std::to_string(port)};
        auto build = os::ChildProcess::start(launch);
        EXPECT_TRUE(build);
        // Ferry, mmdebstrap, and apt in the root that is being made.
        const auto at_work = [&] {
            for (const auto& entry : fs::directory_iterator(cache_)) {
                if (fs::exists(entry.path() / "rootfs/etc")) return processes() >= 3;
            }
            return false;
        };
        for (int i = 0; i < 600 && !at_work(); ++i) std::this_thread::sleep_for(50ms);
        EXPECT_TRUE(at_work());
        return std::move(*build);
    }

    std::string cache_;
    os::UniqueFd mirror_;
};

TEST_F(SiteBuildTest, WithoutNetworkOneLineSaysSo) {
    const CommandResult result =
        run_line({"unshare", "--net", ferry(), "lab", "build", "--cache", cache_});
    expect_one_line(result, "no network");
    expect_empty_cache();
}

TEST_F(SiteBuildTest, WithoutRoomOneLineSaysSoAndNothingIsBegun) {
    const std::string line =
        "mount -t tmpfs -o size=64m tmpfs \"$0\"; exec \"$1\" lab build --cache \"$0\"";
    expect_one_line(run_line({"unshare", "--mount", "sh", "-c", line, cache_, ferry()}), "no room");
    expect_empty_cache();
}

TEST_F(SiteBuildTest, WithoutMmdebstrapOneLineSaysHowToGetIt) {
    const std::string programs = cache_ + "/bin";
    fs::create_directory(programs);
    fs::create_symlink("/bin/sh", programs + "/sh");
    const CommandResult result = run_line(
        {"env", "PATH=" + programs, ferry(), "lab", "build", "--cache", cache_ + "/cache"});
    expect_one_line(result, "tools/setup");
}

TEST_F(SiteBuildTest, ACacheThatCannotBeMadeIsNamed) {
    expect_one_line(run_line({ferry(), "lab", "build", "--cache", "/dev/null/cache"}),
                    "/dev/null/cache");
}

TEST_F(SiteBuildTest, AnInterruptEndsItAndLeavesNothing) {
    os::ChildProcess build = start_waiting_build();
    ASSERT_TRUE(build.send_signal(SIGINT));
    const auto status = build.wait(20s);
    ASSERT_TRUE(status && *status);
    EXPECT_EQ(**status, 128 + SIGINT);
    EXPECT_EQ(processes(), 0);
    expect_empty_cache();
}

TEST_F(SiteBuildTest, WhenItIsKilledItsProcessesAndMountsGoToo) {
    os::ChildProcess build = start_waiting_build();
    ASSERT_TRUE(build.send_signal(SIGKILL));
    ASSERT_TRUE(build.wait(20s));
    for (int i = 0; i < 200 && processes() > 0; ++i) std::this_thread::sleep_for(50ms);
    EXPECT_EQ(processes(), 0);
    EXPECT_THAT(*os::read_file("/proc/self/mounts"), testing::Not(HasSubstr(cache_)));
    // What is left on the disk does not disturb the next one.
    expect_one_line(run_line({"unshare", "--net", ferry(), "lab", "build", "--cache", cache_}),
                    "no network");
    expect_empty_cache();
}

}  // namespace
}  // namespace ferry::lab
