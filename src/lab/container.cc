#include "lab/container.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "lab/oci_config.h"
#include "os/sweeper.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kCopyTimeout{120000};
constexpr milliseconds kTimeout{60000};
constexpr milliseconds kPoll{20};

struct Hierarchy {
    std::string mounted_at, type, options;  // options: what chooses the controllers
};

// The control group hierarchies that this machine has mounted, from /proc/mounts (proc(5)).
Result<std::vector<Hierarchy>> hierarchies() {
    std::vector<Hierarchy> all;
    std::istringstream lines(TRY(os::read_file("/proc/self/mounts")));
    for (std::string line; std::getline(lines, line);) {
        std::istringstream fields(line);
        std::string source, target, type, options;
        fields >> source >> target >> type >> options;
        if (!type.starts_with("cgroup") || !target.starts_with("/sys/fs/cgroup")) continue;
        Hierarchy hierarchy{target, type, ""};
        std::istringstream words(options);
        for (std::string word; std::getline(words, word, ',') && type == "cgroup";) {
            const bool is_of_the_mount = word == "rw" || word == "ro" || word == "xattr" ||
                                         word.starts_with("no") || word.ends_with("atime") ||
                                         word == "clone_children" ||
                                         word.starts_with("release_agent=");
            if (is_of_the_mount) continue;
            hierarchy.options += (hierarchy.options.empty() ? "" : ",") + word;
        }
        all.push_back(hierarchy);
    }
    return all;
}

// Of our own process in every hierarchy, "" for the root: "memory" -> "/a".
Result<std::vector<std::string>> own_groups() {
    std::vector<std::string> groups = {""};
    std::istringstream lines(TRY(os::read_file("/proc/self/cgroup")));
    for (std::string line; std::getline(lines, line);) {
        const std::size_t at = line.find(':', line.find(':') + 1);
        if (at != std::string::npos && line.substr(at + 1) != "/") {
            groups.push_back(line.substr(at + 1));
        }
    }
    return groups;
}

// Where a container's group may be: runc makes it below the group that runc runs in, which is its
// host's in some hierarchies and ours in the others.
Result<std::vector<std::string>> possible_groups(const std::string& host_group,
                                                 const std::string& name) {
    std::vector<std::string> paths;
    for (const Hierarchy& hierarchy : TRY(hierarchies())) {
        for (const std::string& own : TRY(own_groups())) {
            for (const std::string& between : {"/" + host_group, std::string()}) {
                paths.push_back(hierarchy.mounted_at + own + between + "/" + name);
            }
        }
    }
    return paths;
}

os::Launch in_network_namespace(const Host& host, Pid pid, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"nsenter", fmt::format("--net=/proc/{}/ns/net", pid.value)});
    return host.launch(std::move(arguments));
}

}  // namespace

Result<CommandResult> runc(const Host& host, std::vector<std::string> arguments,
                           milliseconds timeout, const std::string& input) {
    arguments.insert(arguments.begin(), {"runc", "--root", host.runtime_root()});
    return host.run(std::move(arguments), timeout, input);
}

Result<std::string> runc_checked(const Host& host, std::vector<std::string> arguments,
                                 milliseconds timeout, const std::string& input) {
    arguments.insert(arguments.begin(), {"runc", "--root", host.runtime_root()});
    return host.run_checked(std::move(arguments), timeout, input);
}

Result<> add_bridge(const Host& host, const std::string& bridge) {
    const std::string old =
        TRY(host.run_checked({"ip", "-o", "addr", "show", "dev", "eth0"}, kTimeout));
    std::string batch = fmt::format(
        "link add {0} type bridge stp_state 0 forward_delay 0\n"
        "link set {0} up\n"
        "link set eth0 master {0}\n"
        "addr flush dev eth0\n",
        bridge);
    std::istringstream lines(old);
    for (std::string line; std::getline(lines, line);) {
        // "2: eth0    inet 10.77.0.11/24 scope global eth0"; link-local ones come by themselves.
        std::istringstream fields(line);
        std::string number, device, family, address;
        fields >> number >> device >> family >> address;
        if (line.find("scope global") == std::string::npos) continue;
        batch += fmt::format("addr add {} dev {}{}\n", address, bridge,
                             family == "inet6" ? " nodad" : "");
    }
    TRY(host.run_checked({"ip", "-batch", "-"}, kTimeout, batch));
    return {};
}

Result<> mount_cgroups(const Host& host) {
    std::string script = "set -e\nmount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup\n";
    for (const Hierarchy& hierarchy : TRY(hierarchies())) {
        script +=
            fmt::format("mkdir -p {0}; mount -t {1} {2} {1} {0}\n", hierarchy.mounted_at,
                        hierarchy.type, hierarchy.options.empty() ? "" : "-o " + hierarchy.options);
    }
    TRY(host.run_checked({"sh", "-s"}, kTimeout, script));
    return {};
}

Container::Container(const Host& host, ContainerPlan plan) : host_(&host), plan_(std::move(plan)) {}

std::string Container::cgroup_name() const {
    return fmt::format("ferry-lab-{}-{}", ::getpid(), plan_.name);
}

Result<> Container::watch_groups() {
    // There its runtime removes them, whatever becomes of us.
    if (host_->is_remote()) return {};
    const std::string host_group = fmt::format("ferry-lab-{}-{}", ::getpid(), host_->name());
    sweepers_.push_back(
        TRY(os::sweep_after_death(TRY(possible_groups(host_group, cgroup_name())))));
    return {};
}

Result<> Container::follow_to(const Host& host) {
    host_ = &host;
    TRY(watch_groups());
    init_ = TRY(ask_init_pid());
    return {};
}

Result<std::unique_ptr<Container>> Container::start(const Host& host, const ContainerPlan& plan) {
    std::unique_ptr<Container> container(new Container(host, plan));
    TRY(container->watch_groups());
    const std::string what = "container " + plan.name;
    TRY(with_context(container->make_bundle(), what));
    container->created_ = true;  // if only half
    TRY(with_context(container->create(), what));
    container->init_ = TRY(with_context(container->ask_init_pid(), what));
    TRY(with_context(container->connect(), what));
    TRY(with_context(runc_checked(host, {"start", plan.name}, kTimeout), what));
    return container;
}

// The bundle's own is only read: an overlay takes what the container writes, or, where another host
// is to see it as well, which two overlays of the same files must not (overlayfs.rst, "Changes to
// underlying filesystems"), a copy.
Result<> Container::make_bundle() {
    nlohmann::json config = TRY(read_config(plan_.bundle));
    set_limits(config, {.cgroups_path = cgroup_name(),
                        .memory_bytes = plan_.memory_bytes,
                        .processes = plan_.processes});
    if (!plan_.arguments.empty()) config["process"]["args"] = plan_.arguments;
    const std::filesystem::path lower =
        std::filesystem::path(plan_.bundle) / config["root"]["path"].get<std::string>();
    config["root"]["path"] = "rootfs";
    const std::string& directory = plan_.directory;
    if (plan_.shared_storage) {
        TRY(host_->run_checked({"mkdir", "-p", directory}, kTimeout));
        TRY(host_->run_checked({"cp", "-a", lower.string(), directory + "/rootfs"}, kCopyTimeout));
        return host_->write_file(directory + "/config.json", config.dump(2) + "\n");
    }
    TRY(host_->run_checked(
        {"mkdir", "-p", directory + "/rootfs", directory + "/upper", directory + "/work"},
        kTimeout));
    TRY(host_->run_checked(
        {"mount", "-t", "overlay", "-o",
         fmt::format("lowerdir={0},upperdir={1}/upper,workdir={1}/work", lower.string(), directory),
         "overlay", directory + "/rootfs"},
        kTimeout));
    mounted_ = true;
    return host_->write_file(directory + "/config.json", config.dump(2) + "\n");
}

// Its standard streams become the container's: /dev/null by default, so that nothing in it belongs
// to us.
Result<> Container::create() {
    const std::string log = plan_.directory + "/runc.log";
    std::vector<std::string> command = {"runc",   "--root",   host_->runtime_root(), "--log",   log,
                                        "create", "--bundle", plan_.directory,       plan_.name};
    if (!plan_.console_socket.empty()) {
        command.insert(std::prev(command.end()), {"--console-socket", plan_.console_socket});
    }
    // What ssh gives a program as streams ends with ssh.
    if (host_->is_remote()) {
        command.insert(command.begin(),
                       {"sh", "-c", "exec \"$@\" < /dev/null > /dev/null 2>&1", "sh"});
    }
    os::Launch launch = host_->launch(std::move(command));
    launch.stdout_fd = plan_.stdout_fd;
    launch.stderr_fd = plan_.stderr_fd;
    auto child = TRY(os::ChildProcess::start(launch));
    const auto status = TRY(child.wait(kTimeout));
    if (status == 0) return {};
    const auto said = host_->run({"cat", log}, kTimeout);
    return fail(Error::invalid(fmt::format("runc create ended with {}: {}", status.value_or(-1),
                                           said ? said->out : said.error().message())));
}

Result<Pid> Container::ask_init_pid() {
    const std::string text = TRY(runc_checked(*host_, {"state", plan_.name}, kTimeout));
    const nlohmann::json state = nlohmann::json::parse(text, nullptr, false);
    if (!state.is_object() || !state["pid"].is_number_integer()) {
        return fail(Error::corrupt("runc state says no pid: " + text));
    }
    return Pid{state["pid"].get<pid_t>()};
}

namespace {

// A bridge without an address of its own takes the lowest of its ports: others would not find its
// host any more for some seconds after the container has come or gone. This one is hardly ever the
// lowest.
std::string port_address() {
    std::random_device random;
    std::string address = "fe";
    for (int i = 0; i < 5; ++i) address += fmt::format(":{:02x}", random() & 0xffu);
    return address;
}

}  // namespace

Result<> Container::connect() {
    const std::string port = "v-" + plan_.name;
    // Duplicate address detection is for networks where others choose addresses, too.
    const std::string outside = fmt::format(
        "link add {0} address {3} type veth peer name eth0 netns {1}\n"
        "link set {0} master {2}\n"
        "link set {0} up\n",
        port, init_.value, plan_.bridge, port_address());
    TRY(host_->run_checked({"ip", "-batch", "-"}, kTimeout, outside));
    const bool v6 = plan_.address.find(':') != std::string::npos;
    const std::string inside =
        fmt::format("link set lo up\n{}link set eth0 up\naddr add {} dev eth0{}\n",
                    plan_.mac.empty() ? "" : fmt::format("link set eth0 address {}\n", plan_.mac),
                    plan_.address, v6 ? " nodad" : "");
    TRY(run_checked(in_network_namespace(*host_, init_, {"ip", "-batch", "-"}), kTimeout, inside));
    return {};
}

Result<std::string> Container::status() const {
    const CommandResult asked = TRY(runc(*host_, {"state", plan_.name}, kTimeout));
    if (asked.status != 0) return "absent";
    const nlohmann::json state = nlohmann::json::parse(asked.out, nullptr, false);
    return state.is_object() ? state.value("status", "absent") : "absent";
}

Result<> Container::stop(milliseconds timeout) {
    TRY(runc_checked(*host_, {"kill", plan_.name, "TERM"}, kTimeout));
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (TRY(status()) == "running") {
        if (std::chrono::steady_clock::now() > end) {
            return fail(Error::limit(fmt::format("container {} does not end", plan_.name)));
        }
        std::this_thread::sleep_for(kPoll);
    }
    TRY(runc_checked(*host_, {"delete", plan_.name}, kTimeout));
    created_ = false;
    return {};
}

Container::~Container() {
    if (created_) static_cast<void>(runc(*host_, {"delete", "--force", plan_.name}, kTimeout));
    if (mounted_) {
        static_cast<void>(host_->run({"umount", "--lazy", plan_.directory + "/rootfs"}, kTimeout));
    }
}

}  // namespace ferry::lab
