// What a source session sends of the service's network: its packet filter, and packets that come
// too late.
#include <thread>

#include "handover/packet_filter.h"
#include "migrate/packets.h"
#include "migrate/source_session.h"

namespace ferry::migrate {
namespace {

using std::chrono::milliseconds;

// How long late frames are forwarded after the destination runs; bridges learn within the first.
constexpr milliseconds kLatePacketsTime{250};
constexpr milliseconds kLatePacketsStep{10};
// Most come before the destination has announced itself, and their senders wait.
constexpr milliseconds kLatePacketsHurry{20};
constexpr milliseconds kLatePacketsHurryStep{1};

}  // namespace

Result<> SourceSession::send_packet_filter() {
    if (!service_network_.space) return {};
    auto filter = TRY(space_->within(handover::read_packet_filter));
    if (!filter.ruleset.empty()) {
        TRY(link_->send(FrameType::Ruleset, handover::encode_filter({.ruleset = filter.ruleset})));
    }
    if (!filter.connections.empty()) {
        TRY(link_->send(FrameType::Connections,
                        handover::encode_filter({.connections = filter.connections})));
    }
    service_network_.space->filter = std::move(filter);  // image files have it, too
    return {};
}

Result<> SourceSession::forward_late_packets() {
    const Clock::time_point begun = Clock::now();
    for (;;) {
        const auto late = TRY(hold_->take_packets());
        report_.held_packets += late.size();
        if (!late.empty()) TRY(link_->send(FrameType::Packets, pack_packets(late)));
        const Clock::duration since = Clock::now() - begun;
        if (since > kLatePacketsTime) return {};
        std::this_thread::sleep_for(since < kLatePacketsHurry ? kLatePacketsHurryStep
                                                              : kLatePacketsStep);
    }
}

}  // namespace ferry::migrate
