#include "handover/mute.h"

#include <fmt/format.h>
#include <linux/netfilter.h>

#include <cerrno>

namespace ferry::handover {
namespace {

const char* const kIngress = "ingress";
const char* const kEgress = "egress";
// Before all other chains: what is dropped should cost and change nothing.
constexpr std::int32_t kPriority = -500;

}  // namespace

DeviceMute::DeviceMute(const std::string& device)
    : device_(device), table_{.family = NFPROTO_NETDEV, .name = "ferry_mute_" + device} {}

Result<> DeviceMute::install(NetlinkSocket& netlink, NftOwner owner, bool muted) {
    NftBatch batch;
    batch.add_table(table_, owner)
        .add_chain(table_, {.name = kIngress,
                            .hook = NF_NETDEV_INGRESS,
                            .priority = kPriority,
                            .drops = muted,
                            .device = device_})
        .add_chain(table_, {.name = kEgress,
                            .hook = NF_NETDEV_EGRESS,
                            .priority = kPriority,
                            .drops = muted,
                            .device = device_});
    auto done = netlink.request(batch.finish(), fmt::format("mute {} (nftables)", device_));
    if (!done && done.error().code() == EOPNOTSUPP) {
        return fail(Error::unsupported(
            "nftables cannot filter at a device's ingress and egress "
            "(CONFIG_NF_TABLES_NETDEV, CONFIG_NETFILTER_INGRESS, CONFIG_NETFILTER_EGRESS)"));
    }
    return done;
}

Result<> DeviceMute::set(NetlinkSocket& netlink, bool muted) {
    NftBatch batch;
    batch.set_policy(table_, kIngress, muted).set_policy(table_, kEgress, muted);
    return netlink.request(batch.finish(),
                           fmt::format("{} {} (nftables)", muted ? "mute" : "unmute", device_));
}

Result<> DeviceMute::remove(NetlinkSocket& netlink) {
    NftBatch batch;
    batch.delete_table(table_);
    return netlink.request(batch.finish(), fmt::format("remove the mute of {}", device_));
}

}  // namespace ferry::handover
