// A container that Podman has started crosses live, by its name, and is Podman's on the other side.
#include <fcntl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fixture.h"
#include "lab/container.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

// Each platform has storage and control groups of its own.
constexpr const char* kPlatform = R"SH(set -e
for d in /var/lib/containers; do mkdir -p $d; mount --bind "$1" $d; done
for d in /run/containers /run/libpod /run/runc /run/netns /dev/shm; do
  mkdir -p $d; mount -t tmpfs tmpfs $d; done
grep ' /sys/fs/cgroup/' /proc/self/mounts | sort -u -k2,2 > /run/ferry/groups
while grep -q ' /sys ' /proc/self/mounts; do umount -R -l /sys; done
mount -t sysfs sysfs /sys; mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
mkdir -p /run/ferry/aside
while read -r source at type options rest; do
  options=$(echo $options | tr , '\n' | grep -vE '^(rw|ro|nosuid|nodev|noexec|relatime|xattr)$' |
    tr '\n' ,)
  mount -t $type ${options:+-o ${options%,}} $type /run/ferry/aside
  own=/run/ferry/aside/$2; mkdir -p $own $at
  for f in cpuset.cpus cpuset.mems; do
    [ ! -e $own/$f ] || cat /run/ferry/aside/$f > $own/$f; done
  mount --bind $own $at; umount /run/ferry/aside
done < /run/ferry/groups)SH";

constexpr const char* kImage = R"SH(set -e
mkdir -p "$1/bin" "$1/etc"; cd "$1"
for program in sh sleep cat; do
  path=$(readlink -f "$(command -v $program || echo /bin/$program)")
  [ -f "$path" ] && cp "$path" bin/$program
  for library in $(ldd "$path" | grep -o '/[^ ]*'); do
    mkdir -p ".$(dirname $library)"; cp -n -L $library .$library; done
done
cp -L /lib64/ld-linux-x86-64.so.2 lib64/ 2>/dev/null || true
tar -c . > "$2")SH";

// Numbers its lines, counts in a file, and keeps a word in /dev/shm.
constexpr const char* kCounter =
    "echo kept > /dev/shm/word; i=0; "
    "while :; do i=$((i+1)); echo line $i; echo $i > /count; sleep 0.05; done";

class PodmanCrossingTest : public TwoPlatformsTest {
  protected:
    // For anything; enough on a slow machine that does other things as well.
    static constexpr std::chrono::seconds kLimit{240};

    void SetUp() override {
        std::string path = "/var/tmp/ferry-podman-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        std::ofstream(path + "/containers.conf")
            << "[engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n"
               "[containers]\napparmor_profile=\"unconfined\"\n"
               "default_ulimits=[\"nofile=1024:1024\",\"nproc=1000:1000\"]\n";
        ::setenv("CONTAINERS_CONF", (path + "/containers.conf").c_str(), 1);
        TwoPlatformsTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        ASSERT_OK(lab::run_checked(
            launch_here({"sh", "-c", kImage, "sh", path + "/rootfs", path + "/image.tar"}),
            kLimit));
        for (std::size_t i = 0; i < 2; ++i) {
            const std::string own = fmt::format("{}/own{}", path, i);
            std::filesystem::create_directory(own);
            ASSERT_OK(mount_cgroups(platform(i).host()));
            ASSERT_OK(platform(i).host().run_checked({"sh", "-c", kPlatform, "sh", own, group(i)},
                                                     kLimit));
        }
    }

    void TearDown() override {
        for (std::size_t i = 0; lab_ != nullptr && i < 2; ++i) {
            static_cast<void>(podman(i, {"rm", "-f", "-t", "0", "-a"}));
            static_cast<void>(platform(i).host().run({"umount", "-l", "/var/lib/containers"}, 5s));
        }
        lab_.reset();
        const std::string script = fmt::format(
            "for g in /sys/fs/cgroup/*/{0} /sys/fs/cgroup/*/{1}; do [ -d $g ] && "
            "find $g -depth -type d -exec rmdir {{}} \\; ; done; rm -rf --one-file-system {2}",
            group(0), group(1), directory_);
        static_cast<void>(lab::run(launch_here({"sh", "-c", script}), 20s));
    }

    static os::Launch launch_here(std::vector<std::string> arguments) {
        os::Launch launch;
        launch.arguments = std::move(arguments);
        return launch;
    }
    static std::string group(std::size_t i) {
        return fmt::format("ferry-podman-{}-{}", ::getpid(), i);
    }
    Result<std::string> podman(std::size_t i, std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "podman");
        return platform(i).host().run_checked(std::move(arguments), kLimit);
    }
    void load_image(std::size_t i, const std::string& name = "ferry/test:1") {
        if (i == 0) {
            ASSERT_OK(podman(0, {"import", directory_ + "/image.tar", name}));
            ASSERT_OK(podman(0, {"save", "--quiet", "-o", directory_ + "/saved.tar", name}));
        } else {
            ASSERT_OK(podman(i, {"load", "--quiet", "-i", directory_ + "/saved.tar"}));
        }
    }
    void start_container(const std::string& script, std::vector<std::string> options = {}) {
        std::vector<std::string> command = {"run", "-d", "--name", "web", "--network", "none"};
        command.insert(command.end(), options.begin(), options.end());
        command.insert(command.end(), {"ferry/test:1", "/bin/sh", "-c", script});
        const auto id = podman(0, command);
        ASSERT_OK(id);
        id_ = id->substr(0, 64);
    }
    CommandResult migrate() {
        auto result = platform(0).run_ferry(
            {"migrate", "web", "--to", platform(1).address(), "--json"}, kLimit);
        EXPECT_OK(result);
        return result.value_or(CommandResult{.status = -1, .out = {}, .err = {}});
    }
    // Everything that Podman has on a platform.
    std::string listed(std::size_t i) {
        return podman(i, {"ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"})
            .value_or("unknown");
    }
    // Its own count; the file is empty for a moment whenever it is written.
    int count(std::size_t i) {
        int found = 0;
        for (int attempt = 0; attempt < 20 && found == 0; ++attempt) {
            const auto said = podman(i, {"exec", "web", "/bin/cat", "/count"});
            if (!said) return -1;
            std::istringstream(*said) >> found;
        }
        return found;
    }
    void expect_to_run_on(std::size_t i) {
        const int before = count(i);
        EXPECT_GT(before, 0);
        EXPECT_TRUE(comes_true([&] { return count(i) > before; }));
    }
    template <class F>
    static bool comes_true(F holds) {
        const auto deadline = std::chrono::steady_clock::now() + kLimit;
        while (!holds()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            std::this_thread::sleep_for(20ms);
        }
        return true;
    }

    std::string directory_, id_;
};

TEST_F(PodmanCrossingTest, ItIsPodmansOnTheOtherSideAndNothingOfItIsLeft) {
    load_image(0);
    load_image(1);
    start_container(kCounter, {"--restart=always"});
    ASSERT_TRUE(comes_true([&] { return count(0) > 10; }));
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    EXPECT_EQ(listed(0), "");
    EXPECT_THAT(listed(1), testing::StartsWith(id_ + " web Up"));
    const auto monitors = processes_named(platform(0).host(), "conmon");
    ASSERT_OK(monitors);
    EXPECT_THAT(*monitors, testing::IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/own0/storage/overlay-containers/" + id_));
    expect_to_run_on(1);
    const auto word = podman(1, {"exec", "web", "/bin/cat", "/dev/shm/word"});
    ASSERT_OK(word);
    EXPECT_EQ(*word, "kept\n");
    // Every line once and in order, whichever monitor has read it.
    const auto logs = podman(1, {"logs", "web"});
    ASSERT_OK(logs);
    std::istringstream lines(*logs);
    std::string name;
    int number = 0, expected = 0;
    while (lines >> name >> number) ASSERT_EQ(number, ++expected);
    EXPECT_GT(expected, 10);
    ASSERT_OK(podman(1, {"stop", "--time", "1", "web"}));
    ASSERT_OK(podman(1, {"rm", "-f", "web"}));
    EXPECT_EQ(listed(1), "");
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
    const auto words = os::open(directory_ + "/words", O_RDWR | O_CREAT | O_TRUNC);
    ASSERT_OK(words);
    os::Launch launch = platform(0).host().launch(
        platform(0).ferry({"migrate", "web", "--to", platform(1).address()}));
    launch.stderr_fd = words->get();
    auto migration = os::ChildProcess::start(launch);
    ASSERT_OK(migration);
    // In one shell: whoever waits out here for a processor would come too late.
    EXPECT_OK(platform(1).host().run_checked(
        {"sh", "-c",
         "until pgrep -x conmon; do sleep 0.01; done; kill -9 $(pgrep -P $(pgrep -o -x ferryd))"},
        kLimit));
    const auto status = migration->wait(kLimit);
    ASSERT_OK(status);
    EXPECT_NE(status->value_or(0), 0) << os::read_file(directory_ + "/words").value_or("");
    const auto is_gone = [&] {
        const auto monitors = processes_named(platform(1).host(), "conmon");
        return listed(1).empty() && monitors && monitors->empty();
    };
    EXPECT_TRUE(comes_true(is_gone));
    EXPECT_EQ(listed(1), "");
    EXPECT_EQ(podman(1, {"volume", "ls", "--quiet"}).value_or("unknown"), "");
    EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
    expect_to_run_on(0);
    ASSERT_OK(podman(0, {"exec", "web", "sh", "-c", "echo kept > /data/file"}));
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    expect_to_run_on(1);
    EXPECT_EQ(podman(1, {"volume", "ls", "--quiet"}).value_or("unknown"), "data\n");
    EXPECT_EQ(podman(1, {"exec", "web", "cat", "/data/file"}).value_or("nothing"), "kept\n");
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
