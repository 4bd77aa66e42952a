#include "handover/network_identity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <set>

#include "handover/device_settings.h"
#include "handover/rtnetlink.h"

namespace ferry::handover {
namespace {

std::unexpected<Error> not_movable(const IpAddress& address, const Link& link,
                                   std::string_view reason) {
    return fail(Error::unsupported(fmt::format(
        "address {} stands on {}, {}: only a macvlan device of its own can move with the service "
        "(ip link add NAME link {} type macvlan mode bridge, and give it the address)",
        address.to_string(), link.name, reason, link.name)));
}

// Refuses what cannot be made again at the destination.
Result<> check_movable(const IpAddress& address, const Link& link) {
    if (link.kind != "macvlan") {
        return not_movable(
            address, link,
            link.kind.empty() ? "a device of the host" : fmt::format("a {} device", link.kind));
    }
    const auto refuse = [&](std::string_view reason) {
        return fail(Error::unsupported(fmt::format("address {} stands on the macvlan {}, {}",
                                                   address.to_string(), link.name, reason)));
    };
    if (link.parent_space) return refuse("whose parent is in another network namespace");
    if (link.master != 0) return refuse("which is a port of a bridge or bond");
    if ((link.macvlan_mode & kMovableMacvlanModes) == 0) {
        return refuse("whose mode is neither bridge, private nor vepa");
    }
    if (!link.mac) return refuse("which has no Ethernet address");
    if ((link.flags & IFF_UP) == 0) return refuse("which is down");
    return {};
}

Result<NetworkIdentity> read_identity(NetlinkSocket& netlink, const Link& link,
                                      const std::vector<Link>& links,
                                      const std::vector<AddressOnLink>& addresses) {
    auto identity = TRY(read_device(netlink, link, addresses));
    identity.macvlan_mode = link.macvlan_mode;
    const auto parent = std::ranges::find(links, link.parent, &Link::index);
    if (parent == links.end()) {
        return fail(Error::gone(fmt::format("the parent of {} has disappeared", link.name)));
    }
    identity.parent = parent->name;
    identity.settings = TRY(with_context(read_device_settings(link.name), link.name));
    return identity;
}

}  // namespace

std::string to_string(const MacAddress& mac) {
    return fmt::format("{:02x}", fmt::join(mac, ":"));
}

std::vector<IpAddress> NetworkIdentity::ip_addresses() const {
    std::vector<IpAddress> result;
    for (const InterfaceAddress& entry : addresses) result.push_back(entry.address);
    return result;
}

Result<std::vector<NetworkIdentity>> find_identities(std::span<const IpAddress> local_addresses) {
    std::set<IpAddress> wanted;
    for (const IpAddress& address : local_addresses) {
        if (!address.is_loopback() && !address.is_wildcard()) wanted.insert(address);
    }
    if (wanted.empty()) return std::vector<NetworkIdentity>{};
    auto netlink = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    const auto links = TRY(list_links(netlink));
    const auto addresses = TRY(list_addresses(netlink));
    std::set<int> devices;
    for (const IpAddress& address : wanted) {
        // The same link-local address may stand on several devices: each of them is a candidate.
        bool found = false;
        for (const AddressOnLink& entry : addresses) {
            const auto link = std::ranges::find(links, entry.index, &Link::index);
            if (entry.address.address != address || link == links.end()) continue;
            if ((link->flags & IFF_LOOPBACK) != 0) {
                return not_movable(address, *link, "the loopback device");
            }
            TRY(check_movable(address, *link));
            devices.insert(entry.index);
            found = true;
        }
        if (!found) {
            return fail(Error::invalid(
                fmt::format("no device of this host has the address {}", address.to_string())));
        }
    }
    std::vector<NetworkIdentity> identities;
    for (const int device : devices) {
        const auto link = std::ranges::find(links, device, &Link::index);
        identities.push_back(TRY(read_identity(netlink, *link, links, addresses)));
    }
    return identities;
}

}  // namespace ferry::handover
