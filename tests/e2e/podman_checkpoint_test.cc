// `podman container checkpoint` and `podman container restore`, where the program that Podman and
// runc take for CRIU is Ferry.
#include "lab/redis_connection.h"
#include "podman_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class PodmanCheckpointTest : public PodmanTest {
  protected:
    static constexpr const char* kIp = "10.88.0.100";  // in the network that Podman always has

    void SetUp() override {
        PodmanTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        std::filesystem::create_directory(programs());
        std::filesystem::create_symlink(program_directory().value_or("") + "/ferry",
                                        programs() + "/criu");
        load_image(0);
    }
    // Podman gives its monitors a PATH of its own (conmon_env_vars).
    CommandResult podman_with_ferry(std::size_t i, const std::vector<std::string>& arguments) {
        std::vector<std::string> all = {"sh",       "-c",       "PATH=$1:$PATH; shift; exec \"$@\"",
                                        "sh",       programs(), "podman",
                                        "container"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const auto result = platform(i).host().run(all, kLimit);
        EXPECT_OK(result);
        return result.value_or(CommandResult{.status = -1, .out = {}, .err = {}});
    }
    void done(std::size_t i, const std::vector<std::string>& arguments) {
        const CommandResult result = podman_with_ferry(i, arguments);
        ASSERT_EQ(result.status, 0) << result.err << log_of(i, "dump") << log_of(i, "restore");
    }
    void expect_refused(const std::vector<std::string>& arguments, const std::string& reason) {
        EXPECT_NE(podman_with_ferry(0, arguments).status, 0);
        EXPECT_THAT(log_of(0, "dump"), HasSubstr(reason));
        EXPECT_THAT(listed(0), StartsWith(id_ + " web Up"));
    }
    std::string log_of(std::size_t i, const std::string& verb) {
        const std::string script = fmt::format(
            "cat /var/lib/containers/storage/overlay-containers/*/userdata/{}.log", verb);
        return platform(i).host().run({"sh", "-c", script}, kLimit).value_or(CommandResult{}).out;
    }
    void expect_inside(std::size_t i, const std::string& name, const std::string& path,
                       const std::string& content) {
        EXPECT_EQ(podman(i, {"exec", name, "/bin/cat", path}).value_or("nothing"), content);
    }
    [[nodiscard]] std::string programs() const { return directory_ + "/programs"; }
};

TEST_F(PodmanCheckpointTest, ItGoesOnInPlaceWhereItStood) {
    start_container("echo scratch > /scratch/word; " + std::string(kCounter),
                    {"--tmpfs", "/scratch"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--leave-running", "web"}));
    expect_to_run_on(0);
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "web"}));
    EXPECT_THAT(listed(0), StartsWith(id_ + " web Exited"));
    ASSERT_NO_FATAL_FAILURE(done(0, {"restore", "--keep", "web"}));
    EXPECT_THAT(log_of(0, "restore"), HasSubstr("Restore finished successfully"));
    EXPECT_THAT(listed(0), StartsWith(id_ + " web Up"));
    expect_to_run_on(0);
    expect_inside(0, "web", "/dev/shm/word", "kept\n");
    expect_inside(0, "web", "/scratch/word", "scratch\n");
    expect_whole_log(0);
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--print-stats", "web"}));
    ASSERT_NO_FATAL_FAILURE(done(0, {"restore", "--print-stats", "web"}));
    expect_to_run_on(0);
    ASSERT_OK(podman(0, {"stop", "--time", "1", "web"}));
    ASSERT_OK(podman(0, {"rm", "web"}));
    EXPECT_EQ(listed(0), "");
}

TEST_F(PodmanCheckpointTest, ItsNetworkAndItsConnectionAreThereAgain) {
    run_container(
        {"/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""},
        {"--ip", kIp, "-p", "7000:6379"});
    Result<RedisConnection> client = fail(Error::gone("no client yet"));
    EXPECT_TRUE(comes_true([&] {
        std::thread([&] {
            if (platform(0).host().enter_network()) client = RedisConnection::connect({kIp, 6379});
        }).join();
        return client.has_value();
    }));
    ASSERT_OK(client);
    const auto incremented = [&] {
        const auto reply = client->call({"INCR", "count"}, kLimit);
        return reply ? (*reply)->integer : -1;
    };
    EXPECT_EQ(incremented(), 1);
    expect_refused({"checkpoint", "web"}, "use --tcp-established");
    EXPECT_EQ(incremented(), 2);
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--leave-running", "--tcp-established", "web"}));
    EXPECT_EQ(incremented(), 3);
    for (int i = 4; i < 6; ++i) {
        ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--tcp-established", "web"}));
        ASSERT_NO_FATAL_FAILURE(done(0, {"restore", "--tcp-established", "web"}));
        EXPECT_EQ(incremented(), i);
    }
    EXPECT_EQ(podman(0, {"inspect", "--format", "{{.NetworkSettings.IPAddress}}", "web"})
                  .value_or("unknown"),
              std::string(kIp) + "\n");
    EXPECT_EQ(podman(0, {"port", "web"}).value_or(""), "6379/tcp -> 0.0.0.0:7000\n");
}

TEST_F(PodmanCheckpointTest, AnArchiveOfItIsImportedElsewhereUnderAnyName) {
    load_image(1);
    start_container(kCounter, {"--volume", "data:/data"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    ASSERT_OK(podman(0, {"exec", "web", "sh", "-c", "echo kept > /data/file"}));
    const std::string archive = directory_ + "/web.tar.gz";
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--export", archive, "web"}));
    const int before =
        std::atoi(podman(0, {"logs", "--tail", "1", "web"}).value_or("line 0").substr(5).c_str());
    ASSERT_NO_FATAL_FAILURE(done(1, {"restore", "--import", archive}));
    EXPECT_THAT(listed(1), StartsWith(id_ + " web Up"));
    expect_to_run_on(1);
    EXPECT_GE(count(1), before - 1);
    expect_inside(1, "web", "/data/file", "kept\n");
    expect_inside(1, "web", "/dev/shm/word", "kept\n");
    ASSERT_NO_FATAL_FAILURE(
        done(1, {"restore", "--import", archive, "--name", "second", "--ignore-volumes"}));
    expect_inside(1, "second", "/dev/shm/word", "kept\n");
    ASSERT_NO_FATAL_FAILURE(done(1, {"checkpoint", "second"}));
    ASSERT_NO_FATAL_FAILURE(done(1, {"restore", "second"}));
    expect_inside(1, "second", "/dev/shm/word", "kept\n");
}

TEST_F(PodmanCheckpointTest, APreCheckpointAndWhatRefersToItAreImportedTogether) {
    load_image(1);
    start_container(kCounter);
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    const std::string before = directory_ + "/before.tar", archive = directory_ + "/web.tar";
    ASSERT_NO_FATAL_FAILURE(done(
        0, {"checkpoint", "--pre-checkpoint", "--compress", "none", "--export", before, "web"}));
    expect_to_run_on(0);
    ASSERT_NO_FATAL_FAILURE(done(
        0, {"checkpoint", "--with-previous", "--compress", "none", "--export", archive, "web"}));
    ASSERT_NO_FATAL_FAILURE(done(1, {"restore", "--import-previous", before, "--import", archive}));
    expect_to_run_on(1);
}

TEST_F(PodmanCheckpointTest, WhatFerryHasMovedIsPodmansToCheckpoint) {
    load_image(1);
    start_container(kCounter);
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(1).agent_log();
    for (int i = 0; i < 2; ++i) {
        ASSERT_NO_FATAL_FAILURE(done(1, {"checkpoint", "web"}));
        EXPECT_THAT(listed(1), StartsWith(id_ + " web Exited"));
        ASSERT_NO_FATAL_FAILURE(done(1, {"restore", "web"}));
        expect_to_run_on(1);
    }
    expect_whole_log(1);
}

TEST_F(PodmanCheckpointTest, ALockOfAFileIsCarriedWhereAnOptionOrAFileAsksForIt) {
    const std::string options = directory_ + "/criu.conf";
    start_container("exec flock /lock sleep 1000", {"--annotation", "org.criu.config=" + options});
    const auto is_locked = [&] {
        return !podman(0, {"exec", "web", "flock", "--nonblock", "/lock", "true"});
    };
    ASSERT_TRUE(comes_true(is_locked));
    expect_refused({"checkpoint", "web"}, "--file-locks");
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "--file-locks", "web"}));
    ASSERT_NO_FATAL_FAILURE(done(0, {"restore", "--file-locks", "web"}));
    EXPECT_TRUE(is_locked());
    std::ofstream(options) << "tcp-close\n";
    expect_refused({"checkpoint", "web"}, "option tcp-close is not supported");
    std::ofstream(options) << "file-locks\n";
    ASSERT_NO_FATAL_FAILURE(done(0, {"checkpoint", "web"}));
    ASSERT_NO_FATAL_FAILURE(done(0, {"restore", "web"}));
    EXPECT_TRUE(is_locked());
}

}  // namespace
}  // namespace ferry::lab
