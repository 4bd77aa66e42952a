#include "handover/mute.h"

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter_arp.h>

#include <cerrno>

namespace ferry::handover {
namespace {

const char* const kIngress = "ingress";
const char* const kEgress = "egress";
const char* const kInput = "input";
const char* const kOutput = "output";
// Before all other chains: what is dropped should cost and change nothing.
constexpr std::int32_t kPriority = -500;

}  // namespace

DeviceMute::DeviceMute(const NetworkIdentity& identity)
    : device_(identity.name),
      addresses_(identity.ip_addresses()),
      frames_{.family = NFPROTO_NETDEV, .name = fmt::format("{}{}", kMuteTables, device_)},
      arp_{.family = NFPROTO_ARP, .name = fmt::format("{}{}", kMuteTables, device_)},
      packets_{.family = NFPROTO_INET, .name = fmt::format("{}{}", kMuteTables, device_)} {}

void DeviceMute::add_rules(NftBatch& batch) const {
    for (const IpAddress& address : addresses_) {
        batch.add_rule(packets_, kOutput, NftRule().match_source(address), NftRule::Verdict::Drop);
        if (address.family != AF_INET) continue;
        batch.add_rule(arp_, kInput, NftRule().match_arp_target(address), NftRule::Verdict::Drop)
            .add_rule(arp_, kOutput, NftRule().match_arp_sender(address), NftRule::Verdict::Drop);
    }
}

Result<> DeviceMute::install(NetlinkSocket& netlink, NftOwner owner, bool muted) {
    NftBatch batch;
    // A killed guardian may have left tables behind.
    batch.replace_table(frames_, owner)
        .add_chain(frames_, {.name = kIngress,
                             .hook = NF_NETDEV_INGRESS,
                             .priority = kPriority,
                             .drops = muted,
                             .device = device_})
        .add_chain(frames_, {.name = kEgress,
                             .hook = NF_NETDEV_EGRESS,
                             .priority = kPriority,
                             .drops = muted,
                             .device = device_})
        .replace_table(arp_, owner)
        .add_chain(arp_, {.name = kInput, .hook = NF_ARP_IN, .priority = kPriority})
        .add_chain(arp_, {.name = kOutput, .hook = NF_ARP_OUT, .priority = kPriority})
        .replace_table(packets_, owner)
        .add_chain(packets_, {.name = kOutput, .hook = NF_INET_LOCAL_OUT, .priority = kPriority});
    if (muted) add_rules(batch);
    auto done = netlink.request(batch.finish(), fmt::format("mute {} (nftables)", device_));
    if (!done && done.error().code() == EOPNOTSUPP) {
        return fail(Error::unsupported(
            "nftables cannot filter ARP and the ingress and egress of a device "
            "(CONFIG_NF_TABLES_ARP, CONFIG_NF_TABLES_NETDEV, CONFIG_NETFILTER_EGRESS)"));
    }
    return done;
}

Result<> DeviceMute::set(NetlinkSocket& netlink, bool muted) {
    NftBatch batch;
    batch.set_policy(frames_, kIngress, muted).set_policy(frames_, kEgress, muted);
    // Emptied first, so that muting twice does not double the rules.
    batch.flush_chain(arp_, kInput).flush_chain(arp_, kOutput).flush_chain(packets_, kOutput);
    if (muted) add_rules(batch);
    return netlink.request(batch.finish(),
                           fmt::format("{} {} (nftables)", muted ? "mute" : "unmute", device_));
}

NetlinkMessages DeviceMute::removal() const {
    NftBatch batch;
    batch.delete_table(frames_).delete_table(arp_).delete_table(packets_);
    return batch.finish();
}

Result<> DeviceMute::remove(NetlinkSocket& netlink) {
    return netlink.request(removal(), fmt::format("remove the mute of {} (nftables)", device_));
}

}  // namespace ferry::handover
