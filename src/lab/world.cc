#include "lab/world.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/process.h"
#include "os/sweeper.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
// The kernel serialises changes of links over all namespaces, and waits for grace periods.
constexpr milliseconds kIpTimeout{60000};

os::NamespaceInit world_init() {
    os::NamespaceInit init;
    init.new_namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS;
    init.mounts = {{"tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755", false},
                   {"", kSharedDirectory, "", 0, "", true},
                   {"", kFerryDirectory, "", 0, "", true},
                   {"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false}};
    return init;
}

os::NamespaceInit host_init(const HostPlan& plan, int world, const Cgroup& cgroup) {
    os::NamespaceInit init;
    init.new_namespaces = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS;
    init.inside_of = world;
    init.hostname = plan.name;
    init.cgroup_procs = cgroup.procs();
    if (const auto more = plan.more_uptime.count(); more != 0) {
        init.clock_offsets = fmt::format("monotonic {} 0\nboottime {} 0\n", more, 2 * more);
    }
    init.mounts = {{"tmpfs", kFerryDirectory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700", false},
                   {"proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false},
                   {"sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", false}};
    return init;
}

os::Launch ip_batch(int pidfd, int namespaces) {
    os::Launch launch;
    launch.arguments = {"ip", "-batch", "-"};
    launch.namespaces_of = pidfd;
    launch.namespaces = namespaces;
    return launch;
}

}  // namespace

Result<std::unique_ptr<World>> World::create(const std::vector<HostPlan>& plans) {
    if (::geteuid() != 0) return fail(Error::invalid("the lab needs root"));
    std::unique_ptr<World> world(new World);
    const auto cgroup_name = [](const HostPlan& plan) {
        return fmt::format("ferry-lab-{}-{}", ::getpid(), plan.name);
    };
    std::vector<std::string> directories;
    for (const HostPlan& plan : plans) {
        for (std::string& path : TRY(Cgroup::directories_for(cgroup_name(plan)))) {
            directories.push_back(std::move(path));
        }
    }
    world->sweeper_ = TRY(os::sweep_after_death(directories));
    world->holder_ = TRY(with_context(os::start_namespace(world_init()), "world"));
    for (const HostPlan& plan : plans) {
        auto host = std::make_unique<Host>();
        host->plan_ = plan;
        host->cgroup_ = TRY(Cgroup::create(cgroup_name(plan)));
        host->holder_ = TRY(with_context(
            os::start_namespace(host_init(plan, world->holder_.pidfd.get(), host->cgroup_)),
            plan.name));
        world->hosts_.push_back(std::move(host));
    }
    TRY(with_context(world->build_network(), "network of the lab"));
    TRY(world->give_boot_ids());
    return world;
}

Result<> World::give_boot_ids() {
    for (const auto& host : hosts_) {
        if (host->plan_.more_uptime.count() == 0) continue;
        const std::string id = std::string(kFerryDirectory) + "/boot_id";
        const std::string shown = "/proc/sys/kernel/random/";
        TRY(host->run_checked({"cp", shown + "uuid", id}, kIpTimeout));
        TRY(host->run_checked({"mount", "--bind", id, shown + "boot_id"}, kIpTimeout));
    }
    return {};
}

Result<> World::build_network() {
    std::string bridge =
        "link set lo up\n"
        "link add br0 type bridge stp_state 0 forward_delay 0\n"
        "link set br0 up\n";
    for (const auto& host : hosts_) {
        // The peer's MTU and offloads stay the kernel's. `netns PID` is resolved in our own /proc.
        bridge += fmt::format(
            "link add {0} type veth peer name eth0 netns {1}\n"
            "link set {0} master br0 up\n",
            host->name(), host->init_pid());
    }
    TRY(lab::run_checked(ip_batch(holder_.pidfd.get(), CLONE_NEWNET), kIpTimeout, bridge));
    for (const auto& host : hosts_) {
        // Duplicate address detection would leave IPv6 addresses tentative for a second or two.
        TRY(host->run_checked({"sh", "-c",
                               fmt::format("echo {} > /proc/sys/kernel/ns_last_pid;"
                                           "for i in default eth0; do"
                                           " [ ! -e /proc/sys/net/ipv6/conf/$i ] ||"
                                           " echo 0 > /proc/sys/net/ipv6/conf/$i/accept_dad; done",
                                           host->plan_.first_pid)},
                              kIpTimeout));
        std::string own = "link set lo up\nlink set eth0 up\n";
        for (const std::string& address : host->plan_.addresses) {
            own += fmt::format("addr add {} dev eth0\n", address);
        }
        TRY(lab::run_checked(ip_batch(host->pidfd(), CLONE_NEWNET), kIpTimeout, own));
    }
    return {};
}

void World::kill_everything() const {
    if (!holder_.pidfd) return;
    static_cast<void>(os::kill(holder_.pid, SIGKILL));
    // The first process of a pid namespace ends only after everything inside has been reaped, and
    // what we started inside are our own children.
    for (;;) {
        const pid_t reaped = ::waitpid(-1, nullptr, __WALL);
        if (reaped == holder_.pid.value || (reaped < 0 && errno != EINTR)) break;
    }
    for (const auto& host : hosts_) host->cgroup_.remove();
}

World::~World() {
    if (!holder_.pidfd) return;
    static_cast<void>(os::kill(holder_.pid, SIGKILL));
    for (const auto& host : hosts_) {
        if (host->holder_.pidfd) ::waitpid(host->holder_.pid.value, nullptr, __WALL);
    }
    ::waitpid(holder_.pid.value, nullptr, __WALL);
}

}  // namespace ferry::lab
