// Containers on hosts that have control groups of version 2 alone, as most have by now. This
// machine's controllers are version 1's, so that such a group has no limits to keep.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class ContainerCgroupsTest : public ContainerCrossingTest {
  protected:
    // As `systemd.unified_cgroup_hierarchy=1` leaves it.
    void leave_version_2_alone(std::size_t where) {
        ASSERT_OK(platform(where).host().run_checked(
            {"sh", "-c",
             "grep -o ' /sys/fs/cgroup/[^ ]*' /proc/self/mountinfo | xargs -r umount -l; "
             "mount -t cgroup2 none /sys/fs/cgroup"},
            10s));
    }
    void expect_runs(std::size_t where) {
        EXPECT_EQ(load_->failure(), std::nullopt);
        expect_goes_on(*load_);
        const auto pong =
            runc_checked(platform(where).host(), {"exec", "web", "redis-cli", "ping"}, 10s);
        ASSERT_OK(pong);
        EXPECT_THAT(*pong, HasSubstr("PONG"));
    }
    void expect_refused_while_paused(std::size_t where) {
        ASSERT_OK(runc_checked(platform(where).host(), {"pause", "web"}, 10s));
        const auto refused = platform(where).run_ferry(
            {"migrate", "web", "--to", platform(1 - where).address()}, 60s);
        ASSERT_OK(refused);
        EXPECT_THAT(refused->err, HasSubstr("it is paused"));
        ASSERT_OK(runc_checked(platform(where).host(), {"resume", "web"}, 10s));
    }

    std::unique_ptr<Load> load_;
};

TEST_F(ContainerCgroupsTest, Version2AloneThereAndBack) {
    for (const std::size_t where : {0u, 1u}) leave_version_2_alone(where);
    auto load = start_redis(16 * 1024);
    ASSERT_OK(load);
    load_ = std::move(*load);
    cross(0, 1);
    if (HasFatalFailure()) return;
    expect_runs(1);
    expect_refused_while_paused(1);
    cross(1, 0, {"--method", "checkpoint"});
    if (HasFatalFailure()) return;
    expect_runs(0);
    ferry::lab::expect_nothing_lost(*load_);
}

// What it has mounted would be others.
TEST_F(ContainerCgroupsTest, FromVersion1ToVersion2IsRefused) {
    const auto version_1 =
        platform(0).host().run({"grep", "-q", " - cgroup ", "/proc/self/mountinfo"}, 5s);
    ASSERT_OK(version_1);
    if (version_1->status != 0) GTEST_SKIP() << "this machine has no control groups of version 1";
    leave_version_2_alone(1);
    auto load = start_redis(16 * 1024);
    ASSERT_OK(load);
    load_ = std::move(*load);
    const auto refused =
        platform(0).run_ferry({"migrate", "web", "--to", platform(1).address()}, 60s);
    ASSERT_OK(refused);
    EXPECT_NE(refused->status, 0);
    EXPECT_THAT(refused->err, HasSubstr("control groups of its host"));
    EXPECT_THAT(refused->err, HasSubstr("of version 1 there and of version 2 here"));
    EXPECT_EQ(traces(), "");
    expect_runs(0);
    ferry::lab::expect_nothing_lost(*load_);
}

}  // namespace
}  // namespace ferry::lab
