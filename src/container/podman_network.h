// The networks of Podman's that a container is connected to, and what Podman finds in the place of
// its network backend, netavark, while it imports the container for us.
//
// The original still has its addresses while Podman imports its copy. So netavark is shown an empty
// network namespace instead of the container's: what it does to the host happens (the rules of
// published ports, the name service, Podman's book of addresses), and the device it makes says
// nothing and is removed at once. The container's own device comes from handover/.
//
// Source relied upon: podman-network(1), netavark(1) 1.4, ip-sysctl.rst "arp_ignore".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace ferry::container {

// Where a container is plugged in.
struct PodmanPlug {
    std::string network;
    std::vector<std::string> devices;  // their names in the container
    bool operator==(const PodmanPlug&) const = default;
};
// Of network.status in a checkpoint of Podman's; none: it is connected to no network. Corrupt.
Result<std::vector<PodmanPlug>> parse_network_status(std::string_view text);
// All devices' names, one space between two; harmless to a shell.
[[nodiscard]] std::string device_names(const std::vector<PodmanPlug>& plugs);

struct PodmanNetwork {
    std::string name, driver;
    std::string bridge;                // of the host
    std::vector<std::string> subnets;  // "10.88.0.0/16", in order
    // Where it answers for names (aardvark-dns): at its gateways. None: it has no names.
    std::vector<std::string> name_servers;
    bool operator==(const PodmanNetwork&) const = default;
};
// Of the text of `podman network inspect`. Corrupt.
Result<std::vector<PodmanNetwork>> parse_podman_networks(std::string_view text);
// A text that the same function reads.
[[nodiscard]] std::string to_json(const std::vector<PodmanNetwork>& networks);
// Those of the plugs, as this host has them. Invalid: one does not exist.
Result<std::vector<PodmanNetwork>> ask_for_networks(const std::vector<std::string>& podman,
                                                    const std::vector<PodmanPlug>& plugs);
// Invalid, by name: one that the source has is another one here.
Result<> compare_networks(const std::vector<PodmanNetwork>& here,
                          const std::vector<PodmanNetwork>& at_source);

// Where Podman looks for netavark.
[[nodiscard]] std::vector<std::string> helper_directories();
// Invalid: it is in none of these.
Result<std::string> find_netavark();

inline constexpr const char* kNetworkStandIn = "netavark";
inline constexpr const char* kRealNetwork = "network";
// The stand-in with these arguments, in whose directory the real one is kRealNetwork: an exit
// status.
Result<int> run_network_stand_in(const std::string& directory, std::vector<std::string> words);

// A shell's function `fill_in SPACE`, to be called before netavark takes the network of a namespace
// down: it gives up half way where a device is missing. Any device of that name will do; $devices
// has the names.
inline constexpr const char* kFillIn = R"(fill_in() {
  for device in $devices; do nsenter --net="$1" ip link add "$device" type dummy; done
})";

}  // namespace ferry::container
