// A container of Podman's with a user namespace crosses: it has the same ids there, and Podman
// there knows them.
#include "podman_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class PodmanUsersTest : public PodmanTest {
  protected:
    void SetUp() override {
        PodmanTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        // For users of containers of different owners.
        for (const char* name : {"", "/own0", "/own1"}) {
            std::filesystem::permissions(directory_ + name, std::filesystem::perms(0755));
        }
        for (std::size_t i = 0; i < 2; ++i) {
            load_image(i);
            give_ids(i, "containers:500000:100000\n");
        }
    }
    void TearDown() override {
        for (std::size_t i = 0; lab_ != nullptr && i < 2; ++i) {
            static_cast<void>(platform(i).host().run({"umount", "-l", "/etc/subuid"}, 5s));
            static_cast<void>(platform(i).host().run({"umount", "-l", "/etc/subgid"}, 5s));
        }
        PodmanTest::TearDown();
    }

    // What Podman on a platform may choose from.
    void give_ids(std::size_t i, const std::string& line) {
        ASSERT_OK(platform(i).host().run_checked(
            {"sh", "-c",
             "cat > /run/ferry/ids; for f in /etc/subuid /etc/subgid; do umount $f; touch $f; "
             "mount --bind /run/ferry/ids $f || exit; done 2>/dev/null"},
            5s, line));
    }
    void start_with_files(std::vector<std::string> options) {
        start_container(std::string("echo kept > /own; echo mine > /data/file; ") + kCounter,
                        std::move(options));
        ASSERT_TRUE(comes_true([&] { return count(0) > 0; }));
        seen_ = look(0);
        EXPECT_THAT(seen_, HasSubstr("kept"));
    }
    // The ids of its processes and files, as Podman, the kernel and the container see them.
    std::string look(std::size_t i) {
        return podman(i, {"inspect", "--format", "{{json .HostConfig.IDMappings}}", "web"})
                   .value_or("unknown") +
               platform(i)
                   .host()
                   .run_checked({"sh", "-c",
                                 "pid=$(podman inspect --format '{{.State.Pid}}' web); "
                                 "cat /proc/$pid/uid_map /proc/$pid/gid_map; cd /proc/$pid/root; "
                                 "stat -c '%n %u %g %a' . own bin/sh data data/file dev/shm "
                                 "dev/shm/word; cat own data/file"},
                                kLimit)
                   .value_or("unknown");
    }
    void cross(std::size_t from, std::size_t to) {
        const CommandResult moved = migrate(to);
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(from).agent_log() << platform(to).agent_log();
        EXPECT_EQ(traces(from), "");
        EXPECT_EQ(look(to), seen_);
        expect_to_run_on(to);
    }
    void expect_refused(const std::string& reason) {
        const CommandResult refused = migrate();
        EXPECT_NE(refused.status, 0);
        EXPECT_THAT(refused.err + refused.out, HasSubstr(reason));
        EXPECT_THAT(listed(0), HasSubstr(id_ + " web Up"));
    }

    std::string seen_;
};

TEST_F(PodmanUsersTest, ItHasTheIdsItWasGivenThereAndBack) {
    start_with_files(
        {"--uidmap", "0:200000:65536", "--gidmap", "0:210000:65536", "--volume", "data:/data"});
    EXPECT_THAT(seen_, HasSubstr("own 200000 210000"));
    cross(0, 1);
    ASSERT_OK(podman(0, {"volume", "rm", "data"}));
    cross(1, 0);
    ASSERT_OK(podman(0, {"restart", "--time", "1", "web"}));
    EXPECT_EQ(look(0), seen_);
    expect_to_run_on(0);
}

TEST_F(PodmanUsersTest, ItHasTheIdsThatPodmanHasChosenOrIsRefused) {
    ASSERT_OK(podman(0, {"run", "-d", "--name", "first", "--network", "none", "--userns",
                         "auto:size=3000", "ferry/test:1", "/bin/sleep", "1000"}));
    start_with_files({"--userns", "auto:size=1024", "--volume", "data:/data"});
    EXPECT_THAT(seen_, HasSubstr("0:503000:1024"));
    ASSERT_OK(podman(1, {"create", "--name", "other", "--network", "none", "--userns",
                         "auto:size=4000", "ferry/test:1", "/bin/sleep", "1000"}));
    expect_refused("are those of the container other here");
    ASSERT_OK(podman(1, {"rm", "other"}));
    give_ids(1, "containers:500000:3500\n");
    expect_refused("which Podman has chosen at the source (--userns=auto), are not all among");
    give_ids(1, "containers:500000:100000\n");
    EXPECT_EQ(listed(1), "");
    cross(0, 1);
    // Podman there does not choose them again: one fits below them, the next one comes after them.
    const std::pair<const char*, const char*> others[] = {{"below", "0:500000:3000"},
                                                          {"after", "0:504024:3000"}};
    for (const auto& [name, ids] : others) {
        ASSERT_OK(podman(1, {"create", "--name", name, "--network", "none", "--userns",
                             "auto:size=3000", "ferry/test:1", "/bin/sleep", "1000"}));
        EXPECT_THAT(podman(1, {"inspect", "--format", "{{json .HostConfig.IDMappings}}", name})
                        .value_or("unknown"),
                    HasSubstr(ids));
    }
    ASSERT_OK(podman(1, {"restart", "--time", "1", "web"}));
    EXPECT_EQ(look(1), seen_);
    expect_to_run_on(1);
}

TEST_F(PodmanUsersTest, OnANetworkOfPodmansItIsRefusedByName) {
    run_container({"/bin/sleep", "1000"}, {"--userns", "auto:size=1024"});
    expect_refused("it has a user namespace and networks of Podman's");
    EXPECT_EQ(traces(1), "");
}

}  // namespace
}  // namespace ferry::lab
