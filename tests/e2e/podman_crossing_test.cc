// A container that Podman has started crosses live, by its name, and is Podman's on the other side.
#include "podman_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class PodmanCrossingTest : public PodmanTest {};

TEST_F(PodmanCrossingTest, ItIsPodmansOnTheOtherSideAndNothingOfItIsLeft) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--restart=always"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    EXPECT_EQ(listed(0), "");
    EXPECT_EQ(traces(0), "");
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/own0/storage/overlay-containers/" + id_));
    EXPECT_THAT(listed(1), testing::StartsWith(id_ + " web Up"));
    expect_to_run_on(1);
    const auto word = podman(1, {"exec", "web", "/bin/cat", "/dev/shm/word"});
    ASSERT_OK(word);
    EXPECT_EQ(*word, "kept\n");
    expect_whole_log(1);
    // Its monitor there has Podman start it again.
    const auto pid = [&] {
        return podman(1, {"inspect", "--format", "{{.State.Pid}}", "web"}).value_or("0");
    };
    const std::string before = pid();
    ASSERT_OK(platform(1).host().run_checked({"sh", "-c", "kill -9 " + before}, 5s));
    EXPECT_TRUE(comes_true([&] { return pid() != before && count(1) > 0; })) << listed(1);
    ASSERT_OK(podman(1, {"stop", "--time", "1", "web"}));
    ASSERT_OK(podman(1, {"rm", "-f", "web"}));
    EXPECT_EQ(listed(1), "");
}

class PodmanClocksTest : public PodmanTest {
  protected:
    PodmanClocksTest() { more_uptime_ = std::chrono::hours(100); }
};

// It writes down what CLOCK_BOOTTIME it sees.
TEST_F(PodmanClocksTest, ItsClocksGoOnWhereTheHostHasOthers) {
    load_image(0);
    load_image(1);
    start_container(std::string("while read -r up rest < /proc/uptime; do echo $up >> /up; "
                                "sleep 0.05; done & ") +
                    kCounter);
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    const auto last_in = [&](std::size_t i, const std::string& path) {
        const std::string text = podman(i, {"exec", "web", "/bin/cat", path}).value_or("");
        const std::size_t end = text.rfind('\n');
        if (end == std::string::npos || end == 0) return 0.0;
        const std::size_t before = text.rfind('\n', end - 1);
        return std::atof(text.c_str() + (before == std::string::npos ? 0 : before + 1));
    };
    const double before = last_in(0, "/up");
    EXPECT_GT(before, 0);
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out;
    expect_to_run_on(1);
    const double after = last_in(1, "/up");
    EXPECT_GE(after, before);
    EXPECT_LT(after, before + 600);
    EXPECT_GT(last_in(1, "/proc/uptime"), before + 3600 * 99);  // who comes in has the host's
}

TEST_F(PodmanCrossingTest, WhateverFailsLaterItStaysAndTheOtherSideIsAsBefore) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--volume", "data:/data"});
    ASSERT_OK(podman(1, {"volume", "create", "data"}));
    CommandResult refused = migrate();
    EXPECT_NE(refused.status, 0);
    EXPECT_THAT(refused.err + refused.out, HasSubstr("Podman has a volume data here"));
    ASSERT_OK(podman(1, {"volume", "rm", "data"}));
    // After Podman there has made it: the destination's worker is killed in the middle.
    migrate_and_kill_worker(1);
    const auto is_gone = [&] {
        const auto monitors = processes_named(platform(1).host(), "conmon");
        return listed(1).empty() && monitors && monitors->empty() &&
               podman(1, {"volume", "ls", "--quiet"}).value_or("unknown").empty();
    };
    EXPECT_TRUE(comes_true(is_gone)) << listed(1);
    EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
    expect_to_run_on(0);
    ASSERT_OK(podman(0, {"exec", "web", "sh", "-c", "echo kept > /data/file"}));
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    expect_to_run_on(1);
    EXPECT_EQ(podman(1, {"volume", "ls", "--quiet"}).value_or("unknown"), "data\n");
    EXPECT_EQ(podman(1, {"exec", "web", "cat", "/data/file"}).value_or("nothing"), "kept\n");
    // Where it was, it is a volume like any other, and can be removed.
    ASSERT_OK(podman(0, {"volume", "rm", "data"}));
    EXPECT_EQ(podman(0, {"volume", "ls", "--quiet"}).value_or("unknown"), "");
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/own0/storage/volumes/data"));
}

// A directory of the host is of the host: it lies at the same path there, under decision 19's mark.
TEST_F(PodmanCrossingTest, ADirectoryOfItsHostComesAlong) {
    load_image(0);
    load_image(1);
    const std::string path = directory_ + "/srv";
    std::filesystem::create_directory(path);
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string own = fmt::format("{}/srv{}", directory_, i);
        std::filesystem::create_directory(own);
        ASSERT_OK(platform(i).host().run_checked({"mount", "--bind", own, path}, 5s));
    }
    const auto here = [&](std::size_t i, const std::string& name) {
        return os::read_file(fmt::format("{}/srv{}/{}", directory_, i, name)).value_or("nothing");
    };
    std::filesystem::create_directory(directory_ + "/srv0/data");
    std::filesystem::create_directory(directory_ + "/srv1/data");
    std::ofstream(directory_ + "/srv0/data/file") << "kept\n";
    std::ofstream(directory_ + "/srv1/data/file") << "somebody's\n";
    start_container(kCounter, {"--volume", path + "/data:/data"});
    const CommandResult refused = migrate();
    EXPECT_NE(refused.status, 0);
    EXPECT_THAT(refused.err + refused.out, HasSubstr("has files here that are no copy of Ferry's"));
    EXPECT_EQ(here(1, "data/file"), "somebody's\n");
    std::filesystem::remove_all(directory_ + "/srv1/data");
    migrate_and_kill_worker(1);
    EXPECT_TRUE(comes_true(
        [&] { return listed(1).empty() && std::filesystem::is_empty(directory_ + "/srv1"); }));
    expect_to_run_on(0);
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(1).agent_log();
    EXPECT_EQ(listed(0), "");
    expect_to_run_on(1);
    EXPECT_EQ(podman(1, {"exec", "web", "cat", "/data/file"}).value_or("nothing"), "kept\n");
    ASSERT_OK(podman(1, {"exec", "web", "sh", "-c", "echo new > /data/file"}));
    EXPECT_EQ(here(1, "data/file"), "new\n");
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/srv1/data.ferry-copy"));
    EXPECT_TRUE(std::filesystem::exists(directory_ + "/srv0/data.ferry-copy"));
    EXPECT_EQ(here(0, "data/file"), "kept\n");
    for (std::size_t i = 0; i < 2; ++i) {
        static_cast<void>(podman(i, {"rm", "-f", "-t", "0", "-a"}));
        ASSERT_OK(platform(i).host().run_checked({"umount", "-l", path}, 5s));
    }
}

TEST_F(PodmanCrossingTest, WithoutItsImageItIsRefusedAndStays) {
    load_image(0);
    start_container(kCounter);
    const CommandResult refused = migrate();
    EXPECT_NE(refused.status, 0);
    EXPECT_THAT(refused.err + refused.out, HasSubstr("Podman has no image localhost/ferry/test:1"));
    EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
    EXPECT_EQ(listed(1), "");
    expect_to_run_on(0);
    ASSERT_OK(podman(0, {"stop", "--time", "1", "web"}));
}

}  // namespace
}  // namespace ferry::lab
