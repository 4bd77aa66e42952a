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
    [[nodiscard]] std::string images() const { return directory_ + "/images"; }
    std::vector<std::string> dump(const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments = {"dump", "web", "-D", images(), "--tcp-established"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    std::vector<std::string> restore() const {
        return {"restore", "web", "-D", images(), "--tcp-established", "--restore-detached"};
    }
    void expect_done(std::size_t i, const std::vector<std::string>& arguments) {
        const auto done = platform(i).run_ferry(arguments, kLimit);
        ASSERT_OK(done);
        ASSERT_EQ(done->status, 0) << done->err;
    }
    void expect_refused(std::size_t i, const std::vector<std::string>& arguments,
                        const std::string& why) {
        const auto refused = platform(i).run_ferry(arguments, kLimit);
        ASSERT_OK(refused);
        EXPECT_NE(refused->status, 0) << why;
        EXPECT_LT(refused->status, 128) << why;
        EXPECT_THAT(refused->err, HasSubstr(why));
        EXPECT_EQ(std::count(refused->err.begin(), refused->err.end(), '\n'), 1) << refused->err;
    }
    std::string in_container(std::size_t i, const std::string& script) {
        return podman(i, {"exec", "web", "sh", "-c", script}).value_or("failed");
    }
    // Of what is being made here or undone.
    std::string left_in_run(std::size_t i) {
        return platform(i)
            .host()
            .run_checked({"sh", "-c", "find /run/ferry-* 2>/dev/null; true"}, kLimit)
            .value_or("unknown");
    }
    // A platform without the container, as if there never had been one: but for named volumes.
    bool is_clean(std::size_t i) {
        const auto monitors = processes_named(platform(i).host(), "conmon");
        return listed(i).empty() && monitors && monitors->empty() && groups(i).empty() &&
               left_in_run(i).empty();
    }
    void expect_clean(std::size_t i) {
        EXPECT_TRUE(comes_true([&] { return is_clean(i); })) << listed(i) << groups(i);
    }
    std::string volumes(std::size_t i) {
        return podman(i, {"volume", "ls", "--quiet"}).value_or("unknown");
    }
    void shell(std::size_t i, const std::string& script) {
        ASSERT_OK(platform(i).host().run_checked({"sh", "-c", script}, kLimit));
    }
};

TEST_F(PodmanImagesTest, MigratesThroughFilesThereAndBack) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--volume", "data:/data"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    std::string written = "first";
    in_container(0, "echo first > /data/file");
    for (const std::size_t to : {std::size_t{1}, std::size_t{0}}) {
        const CommandResult moved = migrate(to, {"--method", "checkpoint"});
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_THAT(moved.out, HasSubstr("\"checkpoint\""));
        EXPECT_EQ(listed(1 - to), "");
        EXPECT_EQ(groups(1 - to), "");
        EXPECT_THAT(listed(to), testing::StartsWith(id_ + " web Up"));
        expect_to_run_on(to);
        EXPECT_EQ(in_container(to, "cat /dev/shm/word /data/file"), "kept\n" + written + "\n");
        // What stays of the volume is not current any more, and is brought up to date.
        written = fmt::format("on{}", to);
        in_container(to, "echo " + written + " > /data/file");
        EXPECT_EQ(volumes(1 - to), "data\n");
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
    expect_clean(1);
    EXPECT_EQ(volumes(1), "");
    expect_to_run_on(0);
    for (const std::size_t where : {std::size_t{0}, std::size_t{1}}) {
        migrate_and_kill_worker(where, {"--method", "checkpoint"});
        expect_clean(1);
        EXPECT_EQ(volumes(1), "");
        EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
        expect_to_run_on(0);
    }
    ASSERT_OK(platform(0).host().run_checked({"umount", small}, kLimit));
    const CommandResult moved = migrate(1, {"--method", "checkpoint"});
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out;
    expect_to_run_on(1);
}

TEST_F(PodmanImagesTest, DumpEndsItAndRestoreBringsItBackHereAndElsewhere) {
    load_image(0);
    load_image(1);
    std::filesystem::create_directory(images());
    start_container(kCounter, {"--volume", "data:/data", "--volume", "/more"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    // Of its root, too: what is new, what is another, what has gone.
    in_container(0,
                 "echo kept > /data/file; echo kept > /more/file; echo new > /new; "
                 "echo other > /bin/redis-cli; rm() { /bin/cat < /dev/null > /etc/none; }; rm");
    for (const std::size_t to : {std::size_t{0}, std::size_t{1}}) {
        expect_done(0, dump());
        expect_clean(0);
        EXPECT_THAT(volumes(0), HasSubstr("data\n"));
        expect_done(to, restore());
        EXPECT_THAT(listed(to), testing::StartsWith(id_ + " web Up"));
        expect_to_run_on(to);
        EXPECT_EQ(in_container(to, "cat /dev/shm/word /data/file /more/file /new /bin/redis-cli"),
                  "kept\nkept\nkept\nnew\nother\n");
        expect_whole_log(to);
    }
    // The image's own did not go along.
    EXPECT_LT(std::filesystem::file_size(images() + "/ferry-files.dat"),
              std::filesystem::file_size(directory_ + "/image.tar") / 4);
    ASSERT_OK(podman(1, {"stop", "--time", "1", "web"}));
    ASSERT_OK(podman(1, {"rm", "-f", "web"}));
    expect_clean(1);
}

TEST_F(PodmanImagesTest, LeaveRunningTakesAPicture) {
    load_image(0);
    std::filesystem::create_directory(images());
    start_container(kCounter);
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    expect_done(0, dump({"--leave-running"}));
    const int then = count(0);
    expect_to_run_on(0);
    expect_refused(0, restore(), "the name is taken");
    expect_to_run_on(0);
    expect_whole_log(0);
    ASSERT_TRUE(comes_true([&] { return count(0) > then + 40; }));
    ASSERT_OK(podman(0, {"rm", "-f", "-t", "0", "web"}));
    expect_done(0, restore());
    EXPECT_LT(count(0), then + 40);
    expect_to_run_on(0);
    expect_whole_log(0);
}

TEST_F(PodmanImagesTest, ADumpThatFailsHarmsNothing) {
    load_image(0);
    std::filesystem::create_directory(images());
    start_container(kCounter, {"--volume", "data:/data"});
    in_container(0, "echo kept > /data/file");
    expect_refused(0, {"dump", "web", "-D", images() + "/none"}, "images/none");
    shell(0, "mount -t tmpfs -o size=64k tmpfs " + images());
    expect_refused(0, dump(), "ENOSPC");
    shell(0, "! ls -A " + images() + " | grep .");
    expect_to_run_on(0);
    shell(0, "umount " + images());
    for (const int delay_ms : {50, 150, 250, 350, 450, 550, 650}) {
        // Whether it is over by then, or not yet frozen, is the machine's affair.
        shell(0,
              fmt::format("cd / && {{ {} & }}; sleep 0.{:03}; kill -9 $! || true",
                          fmt::join(platform(0).ferry(dump({"--leave-running"})), " "), delay_ms));
        expect_to_run_on(0);
        EXPECT_TRUE(comes_true([&] { return left_in_run(0).empty(); })) << left_in_run(0);
    }
    expect_done(0, dump());
    expect_done(0, restore());
    expect_to_run_on(0);
    expect_whole_log(0);
    EXPECT_EQ(in_container(0, "cat /data/file"), "kept\n");
}

TEST_F(PodmanImagesTest, ARestoreThatFailsLeavesNothing) {
    load_image(0);
    std::filesystem::create_directory(images());
    start_container(kCounter, {"--volume", "data:/data"});
    in_container(0,
                 "echo kept > /data/file; i=0; while [ $i -lt 40000 ]; do i=$((i+1)); "
                 "echo a line of forty-eight characters that fills the disk; "
                 "done > /data/large");
    expect_done(0, dump());
    expect_refused(1, restore(), "Podman has no image localhost/ferry/test:1");
    load_image(1);
    ASSERT_OK(podman(1, {"run", "-d", "--network", "none", "--name", "web", "ferry/test:1",
                         "/bin/sleep", "1000"}));
    expect_refused(1, restore(), "Podman has a container web here");
    ASSERT_OK(podman(1, {"rm", "-f", "-t", "0", "web"}));
    ASSERT_OK(podman(1, {"volume", "create", "data"}));
    expect_refused(1, restore(), "Podman has a volume data here");
    ASSERT_OK(podman(1, {"volume", "rm", "data"}));
    // What it has left at its source is its own, unless somebody uses it.
    ASSERT_OK(podman(0, {"run", "-d", "--network", "none", "--name", "other", "-v", "data:/data",
                         "ferry/test:1", "/bin/sleep", "1000"}));
    expect_refused(0, restore(), "Podman's volume data is used by a container here");
    ASSERT_OK(podman(0, {"rm", "-f", "-t", "0", "other"}));
    shell(1, "mount -t tmpfs -o size=1M tmpfs /var/lib/containers/storage/volumes");
    expect_refused(1, restore(), "no room");
    shell(1, "umount /var/lib/containers/storage/volumes");
    expect_clean(1);
    shell(0, fmt::format("cp -a {0} {0}.good", images()));
    for (const char* name : {"ferry-files.dat", "ferry-container.json", "pages-1.img"}) {
        for (const char* damage : {"truncate -s -700 ", "truncate -s 0 ", "rm "}) {
            shell(0, fmt::format("{}{}/{}", damage, images(), name));
            expect_refused(1, restore(), "");
            EXPECT_EQ(listed(1), "") << damage << name;
            shell(0, fmt::format("cp -a {0}.good/{1} {0}/{1}", images(), name));
        }
    }
    shell(1, fmt::format("cd / && {{ {} & }}; until pgrep -f '^[^ ]*conmon .* -c '; do "
                         "sleep 0.01; done; kill -9 $!",
                         fmt::join(platform(1).ferry(restore()), " ")));
    expect_clean(1);
    EXPECT_EQ(volumes(1), "");
    expect_done(1, restore());
    expect_to_run_on(1);
    EXPECT_EQ(in_container(1, "cat /data/file"), "kept\n");
}

}  // namespace
}  // namespace ferry::lab
