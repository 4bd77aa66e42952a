#include "container/podman_network.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>

#include "container/json_access.h"
#include "container/program.h"
#include "container/runtime.h"
#include "os/description.h"
#include "os/fd.h"
#include "os/network_namespace.h"

namespace ferry::container {
namespace {

constexpr std::chrono::hours kNoHurry{24};

Result<PodmanNetwork> read_network(const Json& json) {
    PodmanNetwork network{.name = TRY(text_in(json, "name")),
                          .driver = TRY(text_in(json, "driver")),
                          .bridge = TRY(text_in(json, "network_interface")),
                          .subnets = {},
                          .name_servers = {}};
    const bool has_names = TRY(flag_in(json, "dns_enabled"));
    for (const Json& subnet : *TRY(objects_in(json, "subnets"))) {
        network.subnets.push_back(TRY(text_in(subnet, "subnet")));
        std::string gateway = TRY(text_in(subnet, "gateway"));
        if (has_names && !gateway.empty()) network.name_servers.push_back(std::move(gateway));
    }
    return network;
}

// Nothing in the calling thread's namespace answers or speaks.
Result<> silence() {
    TRY(os::write_file(os::kCwd, "/proc/sys/net/ipv4/conf/all/arp_ignore", "8"));
    TRY(run_checked({.arguments = {"iptables", "-P", "OUTPUT", "DROP"}}));
    if (!os::fstatat(os::kCwd, "/proc/sys/net/ipv6")) return {};
    TRY(run_checked({.arguments = {"ip6tables", "-P", "OUTPUT", "DROP"}}));
    return {};
}

Result<int> run_real(const std::string& directory, std::vector<std::string> words, int input,
                     std::vector<int> passed) {
    words.insert(words.begin(), fmt::format("{}/{}", directory, kRealNetwork));
    os::ChildProcess child = TRY(os::ChildProcess::start({.arguments = std::move(words),
                                                          .stdin_fd = input,
                                                          .stdout_fd = 1,
                                                          .stderr_fd = 2,
                                                          .passed = std::move(passed)}));
    const auto status = TRY(child.wait(kNoHurry));
    return status.value_or(EXIT_FAILURE);
}

// Takes the devices out of the calling thread's namespace. If they went with it, packet filters
// would go first (net/netfilter, pernet operations), and for some milliseconds the stack would
// answer with a reset whatever reaches it of the original's connections.
Result<> remove_devices() {
    constexpr const char* kScript =
        "ip -br link | while read device rest; do [ $device = lo ] || "
        "ip link delete \"${device%@*}\"; done 2>/dev/null; true";
    TRY(run_checked({.arguments = {"sh", "-c", kScript}}));
    return {};
}

Result<int> set_up(const std::string& directory, std::vector<std::string> words) {
    const auto elsewhere = TRY(os::NetworkNamespace::make());
    TRY(elsewhere.within(silence));
    words.back() = "/proc/self/fd/3";
    const auto status = run_real(directory, std::move(words), 0, {elsewhere.fd()});
    TRY(elsewhere.within(remove_devices));
    return status;
}

// The names of the devices in what netavark is asked to do.
Result<std::string> asked_devices(std::string_view text) {
    const Json json = TRY(parse_object(text, "what Podman asks of netavark"));
    PodmanPlug plug;
    for (const Json& network : *TRY(object_in(json, "networks"))) {
        plug.devices.push_back(TRY(text_in(network, "interface_name")));
    }
    return device_names({plug});
}

Result<int> take_down(const std::string& directory, std::vector<std::string> words) {
    const std::string text = TRY(os::read_file("/proc/self/fd/0"));
    const std::string devices = TRY(asked_devices(text));
    TRY(run_program(
        {.arguments = {"sh", "-c", fmt::format("{}\ndevices=$2; fill_in \"$1\"", kFillIn), "sh",
                       words.back(), devices}}));
    const os::UniqueFd input = TRY(os::memfd_create("netavark", 0));
    TRY(os::write_all(input.get(), os::as_bytes(text)));
    TRY(os::lseek(input.get(), 0, SEEK_SET));
    return run_real(directory, std::move(words), input.get(), {});
}

}  // namespace

Result<std::vector<PodmanPlug>> parse_network_status(std::string_view text) {
    constexpr std::string_view kWhat = "the container's network status";
    std::vector<PodmanPlug> plugs;
    if (text.empty() || text == "null") return plugs;
    const Json json = TRY(parse_object(text, kWhat));
    for (const auto& [name, status] : json.items()) {
        PodmanPlug plug{.network = name, .devices = {}};
        TRY(with_context(Runtime::check_id(name), kWhat));
        if (!status.is_object()) return fail(Error::corrupt(std::string(kWhat)));
        for (const auto& [device, addresses] : TRY(object_in(status, "interfaces"))->items()) {
            TRY(with_context(Runtime::check_id(device), kWhat));
            plug.devices.push_back(device);
        }
        plugs.push_back(std::move(plug));
    }
    return plugs;
}

std::string device_names(const std::vector<PodmanPlug>& plugs) {
    std::vector<std::string> names;
    for (const PodmanPlug& plug : plugs) {
        for (const std::string& name : plug.devices) {
            if (Runtime::check_id(name)) names.push_back(name);
        }
    }
    return fmt::format("{}", fmt::join(names, " "));
}

Result<std::vector<PodmanNetwork>> parse_podman_networks(std::string_view text) {
    std::vector<PodmanNetwork> networks;
    const Json json =
        TRY(parse_object(fmt::format("{{\"networks\":{}}}", text), "Podman's networks"));
    for (const Json& network : *TRY(objects_in(json, "networks"))) {
        networks.push_back(TRY(read_network(network)));
    }
    return networks;
}

std::string to_json(const std::vector<PodmanNetwork>& networks) {
    Json list = Json::array();
    for (const PodmanNetwork& network : networks) {
        Json subnets = Json::array();
        auto name_server = network.name_servers.begin();
        for (const std::string& subnet : network.subnets) {
            subnets.push_back({{"subnet", subnet}});
            if (name_server == network.name_servers.end()) continue;
            subnets.back()["gateway"] = *name_server++;
        }
        list.push_back({{"name", network.name},
                        {"driver", network.driver},
                        {"network_interface", network.bridge},
                        {"dns_enabled", !network.name_servers.empty()},
                        {"subnets", subnets}});
    }
    return to_text(list);
}

Result<std::vector<PodmanNetwork>> ask_for_networks(const std::vector<std::string>& podman,
                                                    const std::vector<PodmanPlug>& plugs) {
    std::vector<PodmanNetwork> networks;
    for (const PodmanPlug& plug : plugs) {
        std::vector<std::string> command = podman;
        command.insert(command.end(), {"network", "inspect", plug.network});
        const Finished finished = TRY(run_program({.arguments = command}));
        if (finished.status != 0) {
            return fail(Error::invalid(fmt::format("Podman has no network {} here: {}",
                                                   plug.network, last_line(finished.err))));
        }
        for (PodmanNetwork& network : TRY(parse_podman_networks(finished.out))) {
            networks.push_back(std::move(network));
        }
    }
    return networks;
}

Result<> compare_networks(const std::vector<PodmanNetwork>& here,
                          const std::vector<PodmanNetwork>& at_source) {
    const auto in_words = [](const PodmanNetwork& network) {
        std::string words = fmt::format("a {} {} of {}", network.driver, network.bridge,
                                        fmt::join(network.subnets, ", "));
        if (network.name_servers.empty()) return words;
        return words + fmt::format(" with names at {}", fmt::join(network.name_servers, ", "));
    };
    for (const PodmanNetwork& theirs : at_source) {
        const auto ours = std::ranges::find(here, theirs.name, &PodmanNetwork::name);
        if (ours != here.end() && *ours == theirs) continue;
        return fail(Error::invalid(
            fmt::format("Podman's network {} is {} here and {} at the source", theirs.name,
                        ours == here.end() ? "nothing" : in_words(*ours), in_words(theirs))));
    }
    return {};
}

std::vector<std::string> helper_directories() {
    return {"/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman",
            "/usr/lib/podman"};
}

Result<std::string> find_netavark() {
    for (const std::string& directory : helper_directories()) {
        const std::string path = fmt::format("{}/netavark", directory);
        if (os::fstatat(os::kCwd, path)) return path;
    }
    return fail(Error::invalid("Podman's network backend netavark is not here"));
}

Result<int> run_network_stand_in(const std::string& directory, std::vector<std::string> words) {
    const auto has = [&words](std::string_view verb) {
        return std::ranges::find(words, verb) != words.end();
    };
    if (has("setup")) return set_up(directory, std::move(words));
    if (has("teardown")) return take_down(directory, std::move(words));
    return run_real(directory, std::move(words), 0, {});
}

}  // namespace ferry::container
