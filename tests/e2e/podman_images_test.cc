// A container that Podman has started goes through image files, and is Podman's afterwards.
#include "podman_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class PodmanImagesTest : public PodmanTest {
  protected:
    // Control groups of containers of Podman's, on platform `i`, and what its runtime knows.
    std::string groups(std::size_t i) {
        return platform(i)
            .host()
            .run_checked({"sh", "-c", "ls /run/runc; find /sys/fs/cgroup -name 'libpod-*'"}, kLimit)
            .value_or("unknown");
    }
};

TEST_F(PodmanImagesTest, MigratesThroughFilesThereAndBack) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--volume", "/data"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    ASSERT_OK(podman(0, {"exec", "web", "sh", "-c", "echo kept > /data/file"}));
    for (const std::size_t to : {std::size_t{1}, std::size_t{0}}) {
        const CommandResult moved = migrate(to, {"--method", "checkpoint"});
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_THAT(moved.out, HasSubstr("\"checkpoint\""));
        EXPECT_EQ(listed(1 - to), "");
        EXPECT_EQ(groups(1 - to), "");
        EXPECT_THAT(listed(to), testing::StartsWith(id_ + " web Up"));
        expect_to_run_on(to);
        EXPECT_EQ(podman(to, {"exec", "web", "/bin/cat", "/dev/shm/word"}).value_or(""), "kept\n");
        EXPECT_EQ(podman(to, {"exec", "web", "/bin/cat", "/data/file"}).value_or(""), "kept\n");
        expect_whole_log(to);
    }
}

TEST_F(PodmanImagesTest, AMigrationThroughFilesThatFailsHarmsNothing) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--volume", "data:/data"});
    const std::string small = "/run/small";
    ASSERT_OK(platform(0).host().run_checked(
        {"sh", "-c", "mkdir $1; mount -t tmpfs -o size=64k tmpfs $1", "sh", small}, kLimit));
    const CommandResult refused = migrate(1, {"--method", "checkpoint", "--images-dir", small});
    EXPECT_NE(refused.status, 0);
    EXPECT_THAT(refused.err + refused.out, HasSubstr("ENOSPC"));
    const auto is_as_before = [&] {
        const auto monitors = processes_named(platform(1).host(), "conmon");
        return listed(1).empty() && monitors && monitors->empty() && groups(1).empty() &&
               podman(1, {"volume", "ls", "--quiet"}).value_or("unknown").empty();
    };
    EXPECT_TRUE(comes_true(is_as_before)) << listed(1) << groups(1);
    expect_to_run_on(0);
    for (const std::size_t where : {std::size_t{0}, std::size_t{1}}) {
        migrate_and_kill_worker(where, {"--method", "checkpoint"});
        EXPECT_TRUE(comes_true(is_as_before)) << where << listed(1) << groups(1);
        EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
        expect_to_run_on(0);
    }
    ASSERT_OK(platform(0).host().run_checked({"umount", small}, kLimit));
    const CommandResult moved = migrate(1, {"--method", "checkpoint"});
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out;
    expect_to_run_on(1);
}

}  // namespace
}  // namespace ferry::lab
