#include "lab/hosts_lab.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "lab/platform.h"
#include "os/paths.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kTimeout{30000};
constexpr milliseconds kCopyTimeout{900000};
// A container's last sample says what is, unless the container is gone.
constexpr milliseconds kFresh{400};
constexpr int kSitePids = 400;
constexpr std::size_t kSitesMax = 3;              // of the scenarios
constexpr int kSshFailed = 255, kNotFound = 127;  // ssh(1), sh(1)

// What a person wants of what a program said: its last line.
std::string last_line(const CommandResult& result) {
    std::string last;
    for (const std::string* text : {&result.out, &result.err}) {
        std::istringstream lines(*text);
        for (std::string line; std::getline(lines, line);) {
            while (!line.empty() && line.back() == '\r') line.pop_back();
            if (!line.empty()) last = line;
        }
    }
    return last;
}

// "user@host:2222": ssh takes the port apart from the rest. An IPv6 address has more colons.
std::pair<std::string, std::string> split_port(const std::string& destination) {
    const std::size_t colon = destination.find(':');
    const bool one = colon != std::string::npos && destination.rfind(':') == colon;
    if (!one) return {destination, ""};
    return {destination.substr(0, colon), destination.substr(colon + 1)};
}

// The IPv4 address that many further on, with the prefix length of the first.
std::string address_after(const std::string& first, std::size_t count) {
    const std::size_t slash = first.find('/');
    in_addr address{};
    if (slash == std::string::npos ||
        ::inet_pton(AF_INET, first.substr(0, slash).c_str(), &address) != 1) {
        return first;
    }
    address.s_addr = htonl(ntohl(address.s_addr) + static_cast<std::uint32_t>(count));
    char text[INET_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET, &address, text, sizeof text);
    return text + first.substr(slash);
}

os::Launch local(std::vector<std::string> arguments) {
    os::Launch launch;
    launch.arguments = std::move(arguments);
    return launch;
}

}  // namespace

Result<std::unique_ptr<SiteLab>> HostsLab::create(const SiteLabOptions& options,
                                                  InterruptGuard& guard) {
    std::unique_ptr<HostsLab> lab(new HostsLab(options));
    lab->guard_ = &guard;
    lab->control_directory_ = TRY(os::mkdtemp("/tmp/ferry-lab-ssh-"));
    TRY(lab->connect());
    guard.watch([self = lab.get()] { self->clear_up(); });
    for (const auto& machine : lab->machines_) TRY(lab->bring_bundle(*machine));
    return std::unique_ptr<SiteLab>(std::move(lab));
}

HostsLab::~HostsLab() {
    for (const auto& machine : machines_) machine->sampler.reset();
    end_sites();
    clear_up();
}

std::vector<std::string> HostsLab::ssh_to(const std::string& destination) const {
    const auto [host, port] = split_port(destination);
    std::vector<std::string> words = {"ssh",
                                      "-o",
                                      "BatchMode=yes",
                                      "-o",
                                      "ConnectTimeout=10",
                                      "-o",
                                      "ControlMaster=auto",
                                      "-o",
                                      fmt::format("ControlPath={}/%C", control_directory_),
                                      "-o",
                                      "ControlPersist=60"};
    if (!hosts().ssh_config.empty()) words.insert(words.end(), {"-F", hosts().ssh_config});
    if (!port.empty()) words.insert(words.end(), {"-p", port});
    words.push_back(host);
    return words;
}

Result<> HostsLab::connect() {
    for (const int number : {1, 2}) {
        const std::string& destination = hosts().destinations[number - 1];
        std::vector<std::string> ssh = ssh_to(destination);
        auto machine = std::make_unique<Machine>(
            Host::over_ssh(fmt::format("platform {} ({})", number, destination), ssh,
                           hosts().runtime_root),
            "");
        // The name that ssh's configuration gives it is what the peer calls it by as well.
        ssh.insert(ssh.begin() + 1, "-G");
        std::istringstream settings(TRY(run_checked(local(ssh), kTimeout)));
        for (std::string line; std::getline(settings, line);) {
            if (line.starts_with("hostname ")) machine->address = line.substr(9);
        }
        TRY(check(*machine));
        machines_.push_back(std::move(machine));
    }
    return {};
}

Result<> HostsLab::check(const Machine& machine) const {
    const std::string& name = machine.host.name();
    const auto lacks = [&](const std::string& what) {
        return fail(Error::peer(fmt::format("{}: {}", name, what)));
    };
    const CommandResult asked = TRY(machine.host.run({hosts().ferry, "--version"}, kTimeout));
    if (asked.status == kSshFailed) return lacks("not reached by ssh: " + last_line(asked));
    if (asked.status == kNotFound) {
        return lacks(
            fmt::format("there is no {} (--remote-ferry says where it is)", hosts().ferry));
    }
    const std::string own = TRY(program_directory()) + "/ferry";
    const std::string version = TRY(run_checked(local({own, "--version"}), kTimeout));
    if (asked.status != 0 || asked.out != version) {
        return lacks(fmt::format("it has \"{}\", this is \"{}\"", last_line(asked),
                                 version.substr(0, version.find('\n'))));
    }
    const CommandResult status = TRY(machine.host.run({hosts().ferry, "status"}, kTimeout));
    if (status.status != 0) return lacks("its agent does not answer: " + last_line(status));
    const CommandResult runc = TRY(machine.host.run({"runc", "--version"}, kTimeout));
    if (runc.status != 0) return lacks("runc cannot be started: " + last_line(runc));
    const CommandResult bridge = TRY(
        machine.host.run({"test", "-d", "/sys/class/net/" + hosts().bridge + "/bridge"}, kTimeout));
    if (bridge.status != 0) {
        return lacks(fmt::format("there is no bridge {} (--bridge names another)", hosts().bridge));
    }
    for (std::size_t i = 0; i < kSitesMax; ++i) {
        const std::string site = name_of_site(i);
        if (TRY(lab::runc(machine.host, {"state", site}, kTimeout)).status == 0) {
            return lacks(fmt::format("there is a container {} already", site));
        }
    }
    return {};
}

// To the same place as here: layers that both machines have are not sent with the container.
Result<> HostsLab::bring_bundle(const Machine& machine) const {
    const std::string& bundle = options_.bundle;
    const CommandResult there =
        TRY(machine.host.run({"test", "-e", bundle + "/config.json"}, kTimeout));
    if (there.status != 0) {
        constexpr const char* kSend =
            "set -e; from=$1; shift; tar -C \"$from\" --numeric-owner --xattrs -cf - rootfs "
            "config.json | \"$@\"";
        // It gets its name when all of it is there.
        const std::string unpack = fmt::format(
            "mkdir -p {0} && tar -C {0} --numeric-owner --xattrs -xpf - && rm -rf {1} && mv {0} "
            "{1} || {{ rm -rf {0}; exit 1; }}",
            shell_words({arriving_bundle()}), shell_words({bundle}));
        std::vector<std::string> words = {"sh", "-c", kSend, "sh", bundle};
        const os::Launch receiver = machine.host.launch({"sh", "-c", unpack});
        words.insert(words.end(), receiver.arguments.begin(), receiver.arguments.end());
        TRY(with_context(run_checked(local(words), kCopyTimeout), "sending the site"));
    }
    TRY(machine.host.run_checked({"mkdir", "-p", directory()}, kTimeout));
    return {};
}

std::string HostsLab::name_of_site(std::size_t site) const {
    return fmt::format("{}{}", options_.service, site + 1);
}

std::string HostsLab::arriving_bundle() const {
    return fmt::format("{}.arriving-{}", options_.bundle, ::getpid());
}

std::string HostsLab::directory() const {
    return fmt::format("{}/{}", hosts().storage, ::getpid());
}

// Whatever of the sites is there, on whichever machine. Called from the guard's thread, too.
void HostsLab::clear_up() const {
    // Ends what runs over them as well, such as a site on its way.
    close_connections();
    // What was told to migrate does not notice that, and would bring a site back.
    std::string script = fmt::format("m='[f]erry migrate {}'; ", options_.service);
    script +=
        "pkill -INT -f \"$m\"; for i in $(seq 100); do "
        "pgrep -f \"$m\" > /dev/null || break; sleep 0.1; done; ";
    for (std::size_t i = 0; i < kSitesMax; ++i) {
        // Only ours: another's of the same name has its bundle elsewhere.
        script += fmt::format(
            "if runc --root {0} state {1} 2> /dev/null | grep -qF '\"bundle\": \"{2}/'; then "
            "runc --root {0} delete --force {1}; fi; ",
            shell_words({hosts().runtime_root}), name_of_site(i), directory());
    }
    script += fmt::format(
        "for m in {0}/*/rootfs; do umount --lazy \"$m\" 2>/dev/null; done; rm -rf {0}; "
        "rmdir {1} 2>/dev/null; rm -rf {2} || {{ sleep 1; rm -rf {2}; }}",
        shell_words({directory()}), shell_words({hosts().storage}),
        shell_words({arriving_bundle()}));
    for (const auto& machine : machines_) {
        static_cast<void>(machine->host.run({"sh", "-c", script}, kTimeout));
    }
    close_connections();
    std::error_code ignored;
    if (!control_directory_.empty()) std::filesystem::remove_all(control_directory_, ignored);
}

void HostsLab::close_connections() const {
    for (const std::string& destination : hosts().destinations) {
        std::vector<std::string> ssh = ssh_to(destination);
        ssh.insert(ssh.begin() + 1, {"-O", "exit"});
        static_cast<void>(lab::run(local(std::move(ssh)), kTimeout));
    }
}

Result<CommandResult> HostsLab::run_ferry(int number, const std::vector<std::string>& arguments,
                                          milliseconds timeout) const {
    std::vector<std::string> words = {hosts().ferry};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return host(number).run(std::move(words), timeout);
}

std::string HostsLab::agent_address(int number) const {
    return machine(number).address;
}

ContainerPlan HostsLab::plan_of(std::size_t site) const {
    ContainerPlan plan;
    plan.name = name_of_site(site);
    plan.bundle = options_.bundle;
    plan.arguments = options_.arguments;
    plan.directory = directory() + "/" + plan.name;
    plan.shared_storage = options_.shared_storage;
    plan.bridge = hosts().bridge;
    plan.address = address_after(hosts().first_address, site);
    plan.mac = fmt::format("02:fe:77:00:01:{:02x}", 101 + site);
    plan.memory_bytes = options_.site_memory;
    plan.processes = kSitePids;
    return plan;
}

MemoryRecord HostsLab::memory(int number) const {
    MemoryRecord record;
    const auto& sampler = machine(number).sampler;
    if (!sampler) return record;
    const auto bytes = [&](Quantity quantity,
                           const std::string& subject) -> std::optional<std::uint64_t> {
        const auto value = sampler->latest(quantity, subject, kFresh);
        return value ? std::optional(static_cast<std::uint64_t>(*value)) : std::nullopt;
    };
    record.host = bytes(Quantity::HostMemory, "host");
    for (const Site& site : sites_) {
        if (site.platform != number) continue;
        const auto own = bytes(Quantity::ContainerMemory, site.name);
        if (own) record.container = record.container.value_or(0) + *own;
    }
    return record;
}

Result<std::uint64_t> HostsLab::service_memory(std::size_t index) const {
    const Site& site = sites_.at(index);
    // `runc ps --format json` prints "[1,2,3]".
    const std::string script = fmt::format(
        "for p in $(runc --root {} ps --format json {} | tr -c 0-9 ' '); do "
        "cat /proc/$p/smaps_rollup; done | awk '/^Pss:/ {{ kib += $2 }} END {{ print kib + 0 }}'",
        shell_words({hosts().runtime_root}), shell_words({site.name}));
    const std::string kib = TRY(host(site.platform).run_checked({"sh", "-c", script}, kTimeout));
    return std::strtoull(kib.c_str(), nullptr, 10) * 1024;
}

Result<> HostsLab::start_sampling(const RunClock& clock) {
    for (const int number : {1, 2}) {
        std::vector<std::string> command = {hosts().ferry,
                                            "lab",
                                            "sample",
                                            "--runtime-root",
                                            hosts().runtime_root,
                                            "--device",
                                            hosts().bridge,
                                            "--interval",
                                            fmt::format("{}", Sampler::kInterval.count())};
        for (const Site& site : sites_) command.insert(command.end(), {"--container", site.name});
        machines_.at(static_cast<std::size_t>(number - 1))->sampler =
            TRY(RemoteSampler::start(host(number), std::move(command), number, clock));
    }
    client_sampler_ = std::make_unique<Sampler>(
        clock, std::vector{tcp_retransmissions(0, "client", "/proc/self/net")});
    return {};
}

std::vector<Series> HostsLab::stop_sampling() {
    std::vector<Series> all = client_sampler_->stop();
    for (const auto& machine : machines_) {
        for (Series& series : machine->sampler->stop()) all.push_back(std::move(series));
    }
    return all;
}

}  // namespace ferry::lab
