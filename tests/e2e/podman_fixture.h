// Two platforms with a Podman each, storage and networks of its own, between which the container
// "web" crosses.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "fixture.h"
#include "lab/container.h"

namespace ferry::lab {

// Each platform has storage, networks and control groups of its own.
inline constexpr const char* kPlatform = R"SH(set -e
for d in /var/lib/containers; do mkdir -p $d; mount --bind "$1" $d; done
for d in /run/containers /run/libpod /run/runc /run/netns /dev/shm /etc/containers/networks; do
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

inline constexpr const char* kImage = R"SH(set -e
mkdir -p "$1/bin" "$1/etc"; cd "$1"
for program in sh sleep cat flock true redis-server redis-cli; do
  path=$(readlink -f "$(command -v $program || echo /bin/$program)")
  [ -f "$path" ] && cp "$path" bin/$program
  for library in $(ldd "$path" | grep -o '/[^ ]*'); do
    mkdir -p ".$(dirname $library)"; cp -n -L $library .$library; done
done
cp -L /lib64/ld-linux-x86-64.so.2 lib64/ 2>/dev/null || true
tar -c . > "$2")SH";

// Numbers its lines, counts in a file, and keeps a word in /dev/shm.
inline constexpr const char* kCounter =
    "echo kept > /dev/shm/word; i=0; "
    "while :; do i=$((i+1)); echo line $i; echo $i > /count; sleep 0.05; done";

class PodmanTest : public TwoPlatformsTest {
  protected:
    // For anything; enough on a slow machine that does other things as well.
    static constexpr std::chrono::seconds kLimit{240};

    void SetUp() override {
        std::string path = "/var/tmp/ferry-podman-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        std::ofstream(path + "/containers.conf")
            << "[engine]\nruntime=\"runc\"\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n"
            << "conmon_env_vars=[\"PATH=" << path << "/programs:" << std::getenv("PATH")
            << "\"]\n"
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
    void run_container(const std::vector<std::string>& program,
                       const std::vector<std::string>& options) {
        std::vector<std::string> command = {"run", "-d", "--name", "web"};
        command.insert(command.end(), options.begin(), options.end());
        command.emplace_back("ferry/test:1");
        command.insert(command.end(), program.begin(), program.end());
        const auto id = podman(0, command);
        ASSERT_OK(id);
        id_ = id->substr(0, 64);
    }
    void start_container(const std::string& script, std::vector<std::string> options = {}) {
        options.insert(options.begin(), {"--network", "none"});
        run_container({"/bin/sh", "-c", script}, options);
    }
    CommandResult migrate(std::size_t to = 1, const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"migrate", "web", "--to", platform(to).address(),
                                              "--json"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        auto result = platform(1 - to).run_ferry(arguments, kLimit);
        EXPECT_OK(result);
        return result.value_or(CommandResult{.status = -1, .out = {}, .err = {}});
    }
    // When Podman at the destination has begun; it runs `conmon --version` before. In one shell:
    // whoever asks from out here again and again may come too late.
    void migrate_and_kill_worker(std::size_t where, const std::vector<std::string>& more = {}) {
        const auto await_monitor = [&] {
            EXPECT_OK(platform(1).host().run_checked(
                {"sh", "-c", "until pgrep -f '^[^ ]*conmon .* -c '; do sleep 0.01; done"}, kLimit));
        };
        expect_to_fail("web", await_monitor, where, kKillWorker, more);
    }
    // Everything that Podman has on a platform.
    std::string listed(std::size_t i) {
        return podman(i, {"ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"})
            .value_or("unknown");
    }
    // What a platform has of a container that runs, whoever knows of it: runtimes, monitors,
    // control groups, us, and the host's half of its network.
    std::string traces(std::size_t i) {
        return platform(i)
            .host()
            .run_checked({"sh", "-c",
                          "cd /run; ls -d runc/$1* ferry-* netns/* 2>/dev/null; "
                          "pgrep -a conmon | grep -e $1; "
                          "find /sys/fs/cgroup -maxdepth 4 -name \"*$1*\"; "
                          "iptables-save | grep -e $1 -e ${1%${1#????????????}}; true",
                          "sh", id_},
                         kLimit)
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
    // Of kCounter: every line once and in order, whichever monitor has read it.
    void expect_whole_log(std::size_t i) {
        const auto logs = podman(i, {"logs", "web"});
        ASSERT_OK(logs);
        std::istringstream lines(*logs);
        std::string name;
        int number = 0, expected = 0;
        while (lines >> name >> number) ASSERT_EQ(number, ++expected);
        EXPECT_GT(expected, 10);
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

}  // namespace ferry::lab
