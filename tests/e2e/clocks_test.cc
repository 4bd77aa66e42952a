// A platform that has been up for days longer than the other: the clocks of what crosses go on,
// there and when it moves on from there.
#include "container_victim_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

class ClocksTest : public ContainerVictimTest {
  protected:
    ClocksTest() { more_uptime_ = std::chrono::hours(100); }

    // What the container's first process, or any other, lives in.
    std::string time_namespace(std::size_t where, const std::string& pid) {
        const auto link =
            platform(where).host().run({"readlink", "/proc/" + pid + "/ns/time"}, 10s);
        EXPECT_OK(link);
        return link.value_or(CommandResult{}).out;
    }
    std::string init_pid(std::size_t where) {
        const auto state = runc_checked(platform(where).host(), {"state", "web"}, 10s);
        EXPECT_OK(state);
        return state ? std::to_string(nlohmann::json::parse(*state)["pid"].get<int>()) : "0";
    }
    // runc knows the process by its start time, which it shows by the host's clock.
    void expect_runc_knows_it(std::size_t where) {
        const auto list = runc_checked(platform(where).host(), {"list"}, 10s);
        ASSERT_OK(list);
        EXPECT_THAT(*list, HasSubstr("running"));
        EXPECT_OK(runc_checked(platform(where).host(), {"exec", "web", "true"}, 10s));
    }
    void cross_in_every_way_with_clocks() {
        cross(0, 1);
        EXPECT_NE(time_namespace(1, "self"), time_namespace(1, init_pid(1)));
        expect_runc_knows_it(1);
        cross(1, 0);
        // Where it began on the same boot, it needs none.
        EXPECT_EQ(time_namespace(0, "self") == time_namespace(0, init_pid(0)), own_users_);
        expect_runc_knows_it(0);
        cross_through_files(0, 1);
        expect_runc_knows_it(1);
        cross(1, 0, {"--method", "checkpoint"});
    }
};

TEST_F(ClocksTest, TheOtherPlatformHasOtherClocks) {
    const auto uptime = [&](std::size_t where) {
        const auto text = platform(where).host().run_checked({"cat", "/proc/uptime"}, 10s);
        EXPECT_OK(text);
        return std::stod(text.value_or("0"));
    };
    EXPECT_GT(uptime(1), uptime(0) + 2 * 3600 * 99);
}

TEST_F(ClocksTest, OfAContainerGoOn) {
    start_victim("deadlines");
    cross_in_every_way_with_clocks();
    expect_pass(0);
}

TEST_F(ClocksTest, OfAContainerAreTheSameInTheVdso) {
    start_victim("clocks");
    cross_in_every_way_with_clocks();
    expect_pass(0);
}

TEST_F(ClocksTest, OfAContainerWithUsersOfItsOwnGoOn) {
    own_users_ = true;
    // Where something is mounted over a part of /proc, a user namespace may mount none of its own.
    // Of the same boot, platform 2 has other clocks by its time namespace alone.
    ASSERT_OK(platform(1).host().run_checked({"umount", "/proc/sys/kernel/random/boot_id"}, 10s));
    start_victim("deadlines");
    cross_in_every_way_with_clocks();
    expect_pass(0);
}

// A tree that is no container.
class PlainClocksTest : public ClocksTest {
  protected:
    void start_plain(const std::string& name, const std::string& by = "") {
        shell(fmt::format("{} setsid {}/victim_{} > {} 2>&1 < /dev/null &", by,
                          FERRY_VICTIM_DIRECTORY, name, log_path()));
        ASSERT_TRUE(says("READY")) << log_text();
        pid_ = log_text().substr(6);
        pid_.resize(pid_.find('\n'));
    }
    void expect_pass_of_plain(std::size_t where) {
        EXPECT_OK(platform(where).host().run_checked({"kill", pid_}, 10s));
        EXPECT_TRUE(says("PASS")) << log_text();
    }
    static constexpr const char* kWithoutAdmin = "setpriv --bounding-set=-sys_admin";
    std::string pid_;
};

TEST_F(PlainClocksTest, GoOnLive) {
    start_plain("deadlines");
    for (const std::size_t from : {0u, 1u}) {
        const CommandResult moved =
            ferry(from, {"migrate", pid_, "--to", platform(1 - from).address()});
        ASSERT_EQ(moved.status, 0) << moved.err;
        EXPECT_THAT(moved.err, Not(HasSubstr("jump")));
    }
    expect_pass_of_plain(0);
}

TEST_F(PlainClocksTest, GoOnThroughFiles) {
    start_plain("deadlines");
    for (const std::size_t from : {0u, 1u}) {
        const CommandResult dumped = ferry(from, {"dump", "-t", pid_, "-D", kImages});
        ASSERT_EQ(dumped.status, 0) << dumped.err;
        const CommandResult restored = ferry(1 - from, {"restore", "-D", kImages, "-d"});
        ASSERT_EQ(restored.status, 0) << restored.err;
    }
    expect_pass_of_plain(0);
}

TEST_F(PlainClocksTest, JumpWithAWarningWhereNoTimeNamespaceCanBeMade) {
    start_plain("clocks", kWithoutAdmin);
    const CommandResult dumped = ferry(0, {"dump", "-t", pid_, "-D", kImages});
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    const auto restored = platform(1).host().run(
        {"sh", "-c",
         fmt::format("{} {} restore -D {} -d", kWithoutAdmin, platform(1).ferry({})[0], kImages)},
        60s);
    ASSERT_OK(restored);
    EXPECT_EQ(restored->status, 0) << restored->err;
    EXPECT_THAT(restored->err, HasSubstr("CLOCK_MONOTONIC and CLOCK_BOOTTIME jump"));
    expect_pass_of_plain(1);
}

}  // namespace
}  // namespace ferry::lab
