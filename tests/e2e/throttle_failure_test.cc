// Whoever is killed while a service is slowed down for a migration: it runs at full speed again
// (docs/decisions/0018).
#include "container_fixture.h"
#include "lab/platform.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

// Pages that cannot be compressed, all of them written to all the time.
constexpr const char* kWriter =
    "import os\n"
    "memory = bytearray(os.urandom(24 << 20))\n"
    "turn = 0\n"
    "while True:\n"
    "    turn = (turn + 1) % 256\n"
    "    for page in range(0, len(memory), 4096): memory[page] = turn\n";

class ThrottleFailureTest : public ContainerCrossingTest {
  protected:
    // Lines of the writer's /proc/PID/status, as its host sees it.
    std::string status_line(const std::string& key) {
        const std::string path = fmt::format("/proc/{}/status", container_->init_pid());
        const auto line = platform(0).host().run({"grep", "-w", key, path}, 5s);
        return line ? line->out : "unknown";
    }
    [[nodiscard]] std::string words() const {
        return os::read_file(directory_ + "/words").value_or("");
    }
    os::ChildProcess begin_migration() {
        const auto into = os::open(directory_ + "/words", O_RDWR | O_CREAT | O_TRUNC | O_APPEND);
        EXPECT_OK(into);
        os::Launch launch = platform(0).host().launch(
            platform(0).ferry({"migrate", "web", "--to", platform(1).address(), "--max-downtime",
                               "30", "--on-no-convergence", "throttle"}));
        launch.stdout_fd = launch.stderr_fd = into->get();
        auto migration = os::ChildProcess::start(launch);
        EXPECT_OK(migration);
        return std::move(*migration);
    }
    bool is_slowed_down() {
        for (int attempt = 0; attempt < 1200; ++attempt) {
            if (words().find("slowed down by") != std::string::npos) return true;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
};

TEST_F(ThrottleFailureTest, WhoeverIsKilledItRunsAtFullSpeedAgain) {
    ASSERT_OK(limit_rate(platform(0).host(), 1e8));
    start_container({"/usr/bin/python3", "-c", kWriter});
    const std::string agent = "$(pgrep -o -x ferryd)";
    for (const std::string& what : {"$(pgrep -P " + agent + ")", agent}) {
        os::ChildProcess migration = begin_migration();
        ASSERT_TRUE(is_slowed_down()) << words();
        ASSERT_OK(platform(0).host().run_checked({"sh", "-c", "kill -9 " + what}, 5s));
        const auto status = migration.wait(60s);
        ASSERT_OK(status);
        EXPECT_NE(status->value_or(0), 0) << words();
        if (what == agent) {
            ASSERT_OK(platform(0).restart_agent());
        }
        // Nobody stops it, now or a little later.
        for (int look = 0; look < 40; ++look) {
            EXPECT_THAT(status_line("TracerPid:"), HasSubstr("TracerPid:\t0\n")) << look;
            EXPECT_THAT(status_line("State:"), testing::Not(HasSubstr("stop"))) << look;
            std::this_thread::sleep_for(25ms);
        }
        for (int i = 0; i < 400 && !traces().empty(); ++i) std::this_thread::sleep_for(50ms);
        EXPECT_EQ(traces(), "");
    }
    ASSERT_OK(limit_rate(platform(0).host(), 0));
    cross(0, 1);
}

}  // namespace
}  // namespace ferry::lab
