// With the real runc. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <set>

#include "container/container_lab.h"
#include "container/control_groups.h"
#include "container/creation.h"
#include "container/stub_image.h"
#include "os/fd.h"
#include "proc/process_directory.h"
#include "proc/user_namespace.h"

namespace ferry::container {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> bundles_aside() {
    std::vector<std::string> found;
    const auto names = os::list_directory(os::kCwd, "/run");
    for (const std::string& name : *names) {
        if (name.starts_with("ferry-bundle-")) found.push_back(name);
    }
    return found;
}

bool has_cgroup(const ContainerLab& lab) {
    return !shell("find /sys/fs/cgroup -maxdepth 6 -name " + lab.id).empty();
}

TEST(Find, TellsTheStatus) {
    const ContainerLab lab;
    const auto unknown = find(lab.id, lab.runtime);
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().kind(), Error::Kind::Invalid);
    EXPECT_THAT(unknown.error().message(), HasSubstr("no container \"" + lab.id));

    lab.runc("create --bundle " + lab.bundle + " " + lab.id);
    auto container = find(lab.id, lab.runtime);
    ASSERT_TRUE(container) << container.error().message();
    EXPECT_EQ(container->status, Status::Created);

    lab.runc("start " + lab.id);
    container = find(lab.id, lab.runtime);
    EXPECT_EQ(container->status, Status::Running);
    EXPECT_EQ(container->state.bundle, lab.bundle);
    EXPECT_TRUE(check_movable(*container)) << check_movable(*container).error().message();

    lab.runc("pause " + lab.id);
    container = find(lab.id, lab.runtime);
    EXPECT_EQ(container->status, Status::Paused);
    EXPECT_THAT(check_movable(*container).error().message(), HasSubstr("it is paused"));
    lab.runc("resume " + lab.id);

    lab.runc("kill " + lab.id + " KILL");
    EXPECT_TRUE(eventually([&] { return find(lab.id, lab.runtime)->status == Status::Stopped; }));
}

TEST(Find, SeesWhatCameInByExec) {
    const ContainerLab lab;
    lab.start();
    lab.runc("exec --detach " + lab.id + " /bin/sleep 1000");
    const auto container = find(lab.id, lab.runtime);
    ASSERT_TRUE(container);
    const auto strange = strangers(*container);
    ASSERT_TRUE(strange) << strange.error().message();
    EXPECT_EQ(strange->size(), 1u);
    EXPECT_THAT(check_movable(*container).error().message(), HasSubstr("came into it by exec"));
}

TEST(Remove, LeavesNothingOfTheContainer) {
    const ContainerLab lab;
    lab.start();
    const auto container = find(lab.id, lab.runtime);
    ASSERT_TRUE(container);
    EXPECT_TRUE(has_cgroup(lab));
    ASSERT_TRUE(remove(*container));
    EXPECT_FALSE(std::filesystem::exists(lab.runtime.directory_of(lab.id)));
    EXPECT_FALSE(has_cgroup(lab));
    EXPECT_TRUE(remove(*container)) << "a second time";

    lab.start();
    const auto again = remove(*container);
    ASSERT_FALSE(again) << "another container of the same name was removed";
    EXPECT_EQ(again.error().kind(), Error::Kind::Gone);
    EXPECT_EQ(find(lab.id, lab.runtime)->status, Status::Running);
}

TEST(CreationTest, MakesAContainerWhoseFirstProcessIsOurs) {
    ContainerLab lab;
    lab.config["process"]["user"] = {{"uid", 33}, {"gid", 33}};
    lab.config["linux"]["seccomp"] = {
        {"defaultAction", "SCMP_ACT_ALLOW"},
        {"syscalls", {{{"names", {"mknod"}}, {"action", "SCMP_ACT_ERRNO"}}}}};
    lab.write_config();
    const Description description = moved_away(lab);

    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation) << creation.error().message();
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_TRUE(pid) << pid.error().message();

    EXPECT_EQ(image.call(SYS_getpid), 1);
    EXPECT_EQ(image.call(SYS_getuid), 0);
    const auto status = *proc::ProcessDirectory::open(*pid)->status();
    EXPECT_EQ(status.ns_pids.back(), 1);
    EXPECT_EQ(status.seccomp_mode, 0);
    EXPECT_FALSE(status.no_new_privileges);
    EXPECT_EQ(status.cap_effective,
              proc::ProcessDirectory::open(Pid{::getpid()})->status()->cap_bounding);
    EXPECT_EQ(status.cap_inheritable, 0u);
    // SIGKILL and SIGSTOP cannot be blocked.
    EXPECT_EQ(status.blocked, ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1)));
    EXPECT_THAT(*os::list_directory(os::kCwd, fmt::format("/proc/{}/fd", *pid)),
                ElementsAre(std::to_string(kSocketNumber)));
    const auto now = find(lab.id, lab.runtime);
    ASSERT_TRUE(now) << now.error().message();
    EXPECT_EQ(now->status, Status::Running);
    EXPECT_EQ(now->state.init, *pid);

    std::move(**creation).commit();
    creation->reset();
    EXPECT_THAT(bundles_aside(), ElementsAre());
    EXPECT_EQ(image.call(SYS_getpid), 1) << "it did not outlive the commit";
}

TEST(CreationTest, MakesAUserNamespaceInWhichOurProcessIsRoot) {
    ContainerLab lab;
    lab.give_users();
    const Description description = moved_away(lab);
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation) << creation.error().message();
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_TRUE(pid) << pid.error().message();
    EXPECT_EQ(image.call(SYS_getuid), 0);
    const auto space = proc::user_namespace_of(*pid);
    ASSERT_TRUE(space && *space);
    EXPECT_EQ((*space)->root, (os::UserIds{lab.kFirstUser, lab.kFirstUser}));
    const auto directory = *proc::ProcessDirectory::open(*pid);
    EXPECT_EQ(directory.status()->cap_effective,
              proc::ProcessDirectory::open(Pid{::getpid()})->status()->cap_bounding);
    EXPECT_EQ(image.call(SYS_setuid, 5), 0);
    EXPECT_EQ(directory.status()->uids[0], lab.kFirstUser + 5);
    EXPECT_EQ(find(lab.id, lab.runtime)->state.ids, find(lab.id, lab.runtime)->config.ids);
}

TEST(CreationTest, LeavesTheRuntimeWithTheOriginalsView) {
    ContainerLab lab;
    lab.config["linux"]["seccomp"] = {
        {"defaultAction", "SCMP_ACT_ALLOW"},
        {"syscalls", {{{"names", {"mknod"}}, {"action", "SCMP_ACT_ERRNO"}}}}};
    lab.write_config();
    const Description description = moved_away(lab);
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation) << creation.error().message();
    StubImage image;
    ASSERT_TRUE(image.start(**creation));

    EXPECT_THAT(lab.runc("list"), HasSubstr(lab.bundle + " "));
    EXPECT_THAT(lab.runc("state " + lab.id), HasSubstr("\"running\""));
    EXPECT_EQ(*os::read_file(lab.bundle + "/config.json"), description.config);
    const std::string status = lab.runc("exec " + lab.id + " /bin/cat /proc/self/status");
    EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
    EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
    EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000020000420"));
    EXPECT_THAT(lab.runc("exec " + lab.id + " /bin/hostname"), HasSubstr("runc"));

    // The documents differ in what is this instance's alone.
    auto state =
        nlohmann::json::parse(*os::read_file(lab.runtime.directory_of(lab.id) + "/state.json"));
    auto original = nlohmann::json::parse(description.state);
    for (const char* own : {"init_process_pid", "init_process_start", "namespace_paths"}) {
        EXPECT_NE(state[own], original[own]) << own;
        state.erase(own);
        original.erase(own);
    }
    // The original's streams were a file of the test's; here they lead where this host has them.
    EXPECT_EQ(state["external_descriptors"][1], "/dev/null");
    state.erase("external_descriptors");
    original.erase("external_descriptors");
    EXPECT_EQ(state, original) << nlohmann::json::diff(state, original).dump(1);

    std::move(**creation).commit();
    lab.runc("kill " + lab.id + " KILL");
    EXPECT_TRUE(eventually([&] { return find(lab.id, lab.runtime)->status == Status::Stopped; }));
    lab.runc("delete " + lab.id);
    EXPECT_FALSE(has_cgroup(lab));
}

TEST(CreationTest, KeepsLimitsThatWereChangedSince) {
    ContainerLab lab;
    lab.config["linux"]["resources"]["pids"] = {{"limit", 77}};
    lab.write_config();
    lab.start();
    lab.runc("update --memory 200000000 --cpu-quota 50000 --cpu-period 100000 --cpu-share 300 " +
             lab.id);
    const Description description = described(lab);
    ASSERT_TRUE(remove(*find(lab.id, lab.runtime)));
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation);
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_TRUE(pid) << pid.error().message();
    const State state = find(lab.id, lab.runtime)->state;
    const auto value = [&state](const char* controller, const char* file) {
        return *os::read_file(state.cgroup_paths.at(controller) + "/" + file);
    };
    EXPECT_EQ(value("memory", "memory.limit_in_bytes"), "199999488\n");
    EXPECT_EQ(value("cpu", "cpu.cfs_quota_us"), "50000\n");
    EXPECT_EQ(value("cpu", "cpu.shares"), "300\n");
    EXPECT_EQ(value("pids", "pids.max"), "77\n");
    const auto now =
        nlohmann::json::parse(*os::read_file(lab.runtime.directory_of(lab.id) + "/state.json"));
    EXPECT_EQ(now["config"], nlohmann::json::parse(description.state)["config"]);
}

TEST(CreationTest, UndoesItselfWithoutACommit) {
    const ContainerLab lab;
    const Description description = moved_away(lab);
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation);
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_TRUE(pid) << pid.error().message();
    creation->reset();
    EXPECT_FALSE(std::filesystem::exists(lab.runtime.directory_of(lab.id)));
    EXPECT_FALSE(has_cgroup(lab));
    EXPECT_THAT(bundles_aside(), ElementsAre());
    const auto ended = proc::ProcessDirectory::open(*pid);
    EXPECT_TRUE(!ended || ended->stat()->is_zombie());
}

TEST(CreationTest, IsUndoneWhenWeAreKilled) {
    const ContainerLab lab;
    const Description description = moved_away(lab);
    auto [read_end, write_end] = *os::pipe2(0);
    const pid_t victim = ::fork();
    if (victim == 0) {
        auto creation = Creation::prepare(description, {});
        StubImage image;
        const bool started = creation && image.start(**creation);
        static_cast<void>(::write(write_end.get(), started ? "y" : "n", 1));
        for (;;) ::pause();
    }
    char started = 0;
    ASSERT_EQ(::read(read_end.get(), &started, 1), 1);
    EXPECT_EQ(started, 'y');
    EXPECT_EQ(find(lab.id, lab.runtime)->status, Status::Running);
    ::kill(victim, SIGKILL);
    ::waitpid(victim, nullptr, 0);
    EXPECT_TRUE(
        eventually([&] { return !std::filesystem::exists(lab.runtime.directory_of(lab.id)); }));
    EXPECT_TRUE(eventually([&] { return !has_cgroup(lab) && bundles_aside().empty(); }));
}

TEST(CreationTest, IsUndoneWhenWeAreKilledWhileItIsMade) {
    const ContainerLab lab;
    const Description description = moved_away(lab);
    for (const int delay_ms : {10, 40, 70, 100, 150}) {
        const pid_t victim = ::fork();
        if (victim == 0) {
            auto creation = Creation::prepare(description, {});
            StubImage image;
            static_cast<void>(creation && image.start(**creation));
            for (;;) ::pause();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
        ::kill(victim, SIGKILL);
        ::waitpid(victim, nullptr, 0);
        // The runtime, which was not killed, comes to an end first.
        std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        EXPECT_TRUE(eventually([&] {
            return !std::filesystem::exists(lab.runtime.directory_of(lab.id)) && !has_cgroup(lab) &&
                   bundles_aside().empty();
        })) << delay_ms
            << " ms";
    }
}

TEST(CreationTest, UndoesWhatTheRuntimeCouldNotFinish) {
    ContainerLab lab;
    const Description original = moved_away(lab);
    // runc finds out only when it mounts.
    lab.config["mounts"].push_back(
        {{"destination", "/x"}, {"type", "no-such-type"}, {"source", "x"}});
    lab.write_config();
    Description description = original;
    description.config = *os::read_file(lab.bundle + "/config.json");
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation) << creation.error().message();
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_FALSE(pid);
    EXPECT_THAT(pid.error().message(), HasSubstr("error mounting \"x\" to rootfs at \"/x\""));
    EXPECT_THAT(pid.error().message(), Not(HasSubstr("\n")));
    EXPECT_FALSE(std::filesystem::exists(lab.runtime.directory_of(lab.id)));
    EXPECT_FALSE(has_cgroup(lab));
    EXPECT_THAT(bundles_aside(), ElementsAre());
}

TEST(CreationTest, RefusesMountsThatWereMadeInside) {
    const ContainerLab lab;
    lab.start();
    const auto container = find(lab.id, lab.runtime);
    ASSERT_TRUE(container);
    shell(fmt::format("nsenter --target {} --mount mount -t tmpfs -o size=4k x /data",
                      container->state.init));
    const Description description = *describe(*container);
    ASSERT_TRUE(remove(*container));
    auto creation = Creation::prepare(description, {});
    ASSERT_TRUE(creation);
    StubImage image;
    const auto pid = image.start(**creation);
    ASSERT_FALSE(pid);
    EXPECT_EQ(pid.error().kind(), Error::Kind::Unsupported);
    EXPECT_THAT(pid.error().message(), HasSubstr("mount /data (tmpfs) was made inside"));
    EXPECT_FALSE(std::filesystem::exists(lab.runtime.directory_of(lab.id)));
}

TEST(ControlGroups, AreFoundWhereTheRuntimeMakesThem) {
    for (const char* path : {"", "inner/group", "/outer/group"}) {
        ContainerLab lab;
        if (*path != '\0') lab.config["linux"]["cgroupsPath"] = path + ("-" + lab.id);
        lab.write_config();
        lab.start();
        const auto container = find(lab.id, lab.runtime);
        ASSERT_TRUE(container) << container.error().message();
        std::set<std::string> made;
        for (const auto& [controller, group] : container->state.cgroup_paths) made.insert(group);
        const auto& configured = container->config.cgroups_path;
        const auto found = groups_for(configured.empty() ? lab.id : configured);
        ASSERT_TRUE(found) << found.error().message();
        EXPECT_EQ(std::set(found->begin(), found->end()), made);
        EXPECT_THAT(*members_of(found->front()), ElementsAre(container->state.init));
        ASSERT_TRUE(remove(*container));
        for (const std::string& group : made) {
            const auto parent = std::filesystem::path(group).parent_path();
            if (parent.filename() == "inner" || parent.filename() == "outer") {
                std::filesystem::remove(parent);
            }
        }
    }
}

TEST(CreationTest, ChecksBeforeItMakesAnything) {
    ContainerLab lab;
    lab.start();
    const Description running = described(lab);
    const auto complaint = [](const Description& description, const CreationOptions& options) {
        const auto creation = Creation::prepare(description, options);
        EXPECT_FALSE(creation);
        return creation ? std::string() : creation.error().message();
    };
    EXPECT_THAT(complaint(running, {}), HasSubstr("the name is taken"));
    EXPECT_THAT(complaint(running, {.runtime_root = lab.runtime.root + "-other"}),
                HasSubstr("is in use here"));
    ASSERT_TRUE(remove(*find(lab.id, lab.runtime)));

    Description other = running;
    other.config = lab.config_with("hooks", {{"prestart", {{{"path", "/bin/true"}}}}});
    EXPECT_THAT(complaint(other, {}), HasSubstr("it has hooks (prestart)"));
    other.runtime_version = "9.9.9";
    EXPECT_THAT(complaint(other, {}), HasSubstr("9.9.9 at the source"));
    EXPECT_THAT(complaint(running, {.program = "no-such-runtime"}), HasSubstr("no-such-runtime"));
    EXPECT_THAT(complaint(running, {.program = "/bin/true"}), HasSubstr("is not runc"));
    EXPECT_THAT(complaint(running, {.bundle = "/nowhere"}), HasSubstr("the bundle /nowhere"));
    std::filesystem::rename(lab.bundle + "/rootfs", lab.bundle + "/elsewhere");
    EXPECT_THAT(complaint(running, {}), HasSubstr("the root file system"));
    std::filesystem::rename(lab.bundle + "/elsewhere", lab.bundle + "/rootfs");
    lab.config["mounts"].push_back({{"destination", "/data"},
                                    {"type", "bind"},
                                    {"source", "/nowhere/data"},
                                    {"options", {"bind"}}});
    lab.write_config();
    EXPECT_THAT(complaint(running, {}), HasSubstr("is not the source's"));
    other = running;
    other.config = *os::read_file(lab.bundle + "/config.json");
    EXPECT_THAT(complaint(other, {}),
                HasSubstr("what is mounted on /data, /nowhere/data does not exist here"));
    EXPECT_FALSE(std::filesystem::exists(lab.runtime.directory_of(lab.id)));
}

}  // namespace
}  // namespace ferry::container
