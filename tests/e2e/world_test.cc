// The lab itself: hosts that are apart, a service that clients reach, and nothing left behind.
#include "lab/world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "going_on.h"
#include "lab/load.h"
#include "lab/redis_service.h"
#include "lab/system_snapshot.h"
#include "os/process.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::vector<HostPlan> three_hosts() {
    return {{"one", {"10.77.0.11/24"}, 1000},
            {"two", {"10.77.0.12/24"}, 20000},
            {"client", {"10.77.1.2/24"}, 300}};
}

std::unique_ptr<World> make_world() {
    auto world = World::create(three_hosts());
    EXPECT_TRUE(world) << world.error().describe();
    return world ? std::move(*world) : nullptr;
}

class WorldTest : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    }
};

TEST_F(WorldTest, HostsReachEachOtherAndHaveTheirOwnProcessesAndMounts) {
    const auto world = make_world();
    ASSERT_TRUE(world);
    const auto ping = world->host(0).run({"bash", "-c", "exec 3<>/dev/tcp/10.77.0.12/9"}, 5s);
    ASSERT_TRUE(ping) << ping.error().describe();
    EXPECT_THAT(ping->err, HasSubstr("refused"));
    const auto processes = world->host(0).run_checked({"sh", "-c", "echo /proc/[0-9]*"}, 5s);
    ASSERT_TRUE(processes) << processes.error().describe();
    EXPECT_THAT(*processes, testing::StartsWith("/proc/1 /proc/1"));
    ASSERT_TRUE(
        world->host(0).run_checked({"sh", "-c", "echo a > /run/ferry/x; echo b > /run/lab/y"}, 5s));
    EXPECT_NE(world->host(1).run({"cat", "/run/ferry/x"}, 5s)->status, 0);
    EXPECT_EQ(world->host(1).run({"cat", "/run/lab/y"}, 5s)->out, "b\n");
    EXPECT_FALSE(std::filesystem::exists("/run/lab/y"));
}

TEST_F(WorldTest, AServiceOnItsOwnInterfaceAnswersItsClientsAndLosesNoWrite) {
    const auto world = make_world();
    ASSERT_TRUE(world);
    const auto made = add_service_interface(world->host(0), {});
    ASSERT_TRUE(made) << made.error().describe();
    RedisOptions redis;
    redis.directory = std::string(kSharedDirectory) + "/redis";
    const auto pid = start_redis(world->host(0), redis);
    ASSERT_TRUE(pid) << pid.error().describe();
    EXPECT_GT(pid->value, 1000);
    const auto filled = Load::fill(world->host(2), redis.address, 20000);
    ASSERT_TRUE(filled) << filled.error().describe();
    auto load = Load::start(world->host(2), {.address = redis.address, .keys = 20000});
    ASSERT_TRUE(load) << load.error().describe();
    expect_goes_on(**load);
    std::this_thread::sleep_for(500ms);
    const LoadWindow window = (*load)->take_window();
    EXPECT_GT(window.writes_acknowledged, 0u);
    EXPECT_GT(window.probes.count(), 0u);
    EXPECT_GT(window.longest_pause(), 0);
    const auto stopped = (*load)->stop();
    ASSERT_TRUE(stopped) << stopped.error().describe();
    const auto verified = (*load)->verify();
    ASSERT_TRUE(verified) << verified.error().describe();
    EXPECT_TRUE(verified->good());
    EXPECT_EQ(verified->keys_checked, 20000u);
}

TEST_F(WorldTest, AValueThatWasReplacedIsNoticed) {
    const auto world = make_world();
    ASSERT_TRUE(world);
    ASSERT_TRUE(add_service_interface(world->host(0), {}));
    RedisOptions redis;
    redis.directory = std::string(kSharedDirectory) + "/redis";
    ASSERT_TRUE(start_redis(world->host(0), redis));
    ASSERT_TRUE(Load::fill(world->host(2), redis.address, 1000));
    auto load = Load::start(world->host(2), {.address = redis.address, .keys = 1000});
    ASSERT_TRUE(load);
    std::this_thread::sleep_for(100ms);
    ASSERT_TRUE((*load)->stop());
    ASSERT_TRUE(world->host(0).run_checked(
        {"redis-cli", "-h", redis.address.ip, "del", "k:0000000007"}, 5s));
    const auto verified = (*load)->verify();
    ASSERT_TRUE(verified) << verified.error().describe();
    EXPECT_EQ(verified->foreign, 1u);
    EXPECT_FALSE(verified->good());
}

TEST_F(WorldTest, AServiceThatDiesFailsTheLoad) {
    const auto world = make_world();
    ASSERT_TRUE(world);
    ASSERT_TRUE(add_service_interface(world->host(0), {}));
    RedisOptions redis;
    redis.directory = std::string(kSharedDirectory) + "/redis";
    const auto pid = start_redis(world->host(0), redis);
    ASSERT_TRUE(pid);
    ASSERT_TRUE(Load::fill(world->host(2), redis.address, 1000));
    auto load = Load::start(world->host(2), {.address = redis.address, .keys = 1000});
    ASSERT_TRUE(load);
    EXPECT_FALSE((*load)->failure());
    ASSERT_TRUE(world->host(0).run_checked({"kill", "-9", std::to_string(pid->value)}, 5s));
    EXPECT_FALSE((*load)->stop());
    EXPECT_TRUE((*load)->failure());
}

TEST_F(WorldTest, ASnapshotShowsWhatChangedAndForgetsWhatWasUndone) {
    const auto world = make_world();
    ASSERT_TRUE(world);
    Host& host = world->host(0);
    const auto before = SystemSnapshot::take(host);
    ASSERT_TRUE(before) << before.error().describe();
    EXPECT_THAT(*lasting_differences(host, *before), testing::IsEmpty());
    ASSERT_TRUE(host.run_checked({"sh", "-c",
                                  "sleep 1000 & ip link add x0 type bridge; nft add table inet t;"
                                  "mount -t tmpfs none /mnt; touch /run/ferry/left"},
                                 5s));
    const auto changes = lasting_differences(host, *before, {}, 0s);
    ASSERT_TRUE(changes) << changes.error().describe();
    for (const char* fact : {"sleep", "link: x0", "firewall: table inet t", "mount: / on /mnt",
                             "file: /run/ferry/left"}) {
        EXPECT_THAT(*changes, testing::Contains(HasSubstr(fact)));
    }
    ASSERT_TRUE(host.run_checked({"sh", "-c",
                                  "ip link del x0; nft delete table inet t; umount /mnt;"
                                  "rm /run/ferry/left; pkill sleep"},
                                 5s));
    EXPECT_THAT(*lasting_differences(host, *before), testing::IsEmpty());
}

TEST_F(WorldTest, ASigkillOfItsMakerRemovesProcessesAndControlGroups) {
    auto [read_end, write_end] = *os::pipe2(0);
    const pid_t maker = ::fork();
    if (maker == 0) {
        const auto world = make_world();
        const auto text = std::to_string(world->host(0).init_pid().value);
        static_cast<void>(world->host(0).run({"sh", "-c", "sleep 1000 & sleep 1000 &"}, 5s));
        static_cast<void>(os::write_all(write_end.get(), os::as_bytes(text)));
        ::pause();
        ::_exit(0);
    }
    write_end.reset();
    std::string text(20, '\0');
    const auto got = os::read(read_end.get(), std::as_writable_bytes(std::span(text)));
    ASSERT_TRUE(got);
    ASSERT_GT(*got, 0u);
    const auto host = os::PidFd::open(Pid{std::stoi(text)});
    ASSERT_TRUE(host);
    ASSERT_TRUE(os::kill(Pid{maker}, SIGKILL));
    EXPECT_TRUE(*host->wait_exit(10s));
    const std::string name = "ferry-lab-" + std::to_string(maker) + "-one";
    const auto groups = Cgroup::directories_for(name);
    ASSERT_TRUE(groups);
    for (const std::string& directory : *groups) {
        for (int i = 0; i < 1000 && std::filesystem::exists(directory); ++i) {
            std::this_thread::sleep_for(10ms);
        }
        EXPECT_FALSE(std::filesystem::exists(directory)) << directory;
    }
}

}  // namespace
}  // namespace ferry::lab
