#include "image/multicast_codec.h"

#include <net/if.h>

#include <cstring>

namespace ferry::image {
namespace {

// Far more than net.ipv4.igmp_max_memberships and igmp_max_msf allow.
constexpr int kGroupsMax = 1 << 16, kSourcesMax = 1 << 16;

void put(const model::InetAddress& address, std::string& into) {
    into.assign(reinterpret_cast<const char*>(address.data()), address.size());
}

Result<model::InetAddress> address_of(const std::string& from) {
    model::InetAddress address = {};
    if (from.size() != address.size()) return fail(Error::corrupt("an address of a socket"));
    std::memcpy(address.data(), from.data(), from.size());
    return address;
}

Result<model::GroupMembership> group_from_extra(const wire::FerryGroup& record) {
    const bool sane = (record.family() == AF_INET || record.family() == AF_INET6) &&
                      record.device().size() < IF_NAMESIZE && !record.device().empty() &&
                      record.sources_size() <= kSourcesMax;
    if (!sane) return fail(Error::corrupt("a multicast group of a socket"));
    model::GroupMembership group = {.family = static_cast<int>(record.family()),
                                    .device = record.device(),
                                    .group = TRY(address_of(record.group())),
                                    .local = TRY(address_of(record.local())),
                                    .excludes = record.excludes(),
                                    .sources = {}};
    for (const std::string& source : record.sources()) {
        group.sources.push_back(TRY(address_of(source)));
    }
    return group;
}

}  // namespace

bool devices_to_extra(const model::InetSocket& socket, wire::FerrySocket& extra) {
    for (const model::DeviceOption& option : socket.device_options) {
        wire::FerryDeviceOption& record = *extra.add_device_options();
        record.set_level(option.level);
        record.set_option(option.option);
        record.set_device(option.device);
        put(option.local, *record.mutable_local());
    }
    for (const model::GroupMembership& group : socket.groups) {
        wire::FerryGroup& record = *extra.add_groups();
        record.set_family(static_cast<std::uint32_t>(group.family));
        record.set_device(group.device);
        put(group.group, *record.mutable_group());
        put(group.local, *record.mutable_local());
        record.set_excludes(group.excludes);
        for (const model::InetAddress& source : group.sources) put(source, *record.add_sources());
    }
    return !socket.device_options.empty() || !socket.groups.empty();
}

Result<> devices_from_extra(const wire::FerrySocket& extra, model::InetSocket& into) {
    constexpr int kOptionsMax = 16;
    if (extra.device_options_size() > kOptionsMax || extra.groups_size() > kGroupsMax) {
        return fail(Error::corrupt("a socket's devices"));
    }
    for (const wire::FerryDeviceOption& record : extra.device_options()) {
        if (record.device().size() >= IF_NAMESIZE) return fail(Error::corrupt("a device's name"));
        into.device_options.push_back({.level = record.level(),
                                       .option = record.option(),
                                       .device = record.device(),
                                       .local = TRY(address_of(record.local()))});
    }
    for (const wire::FerryGroup& record : extra.groups()) {
        into.groups.push_back(TRY(group_from_extra(record)));
    }
    return {};
}

}  // namespace ferry::image
