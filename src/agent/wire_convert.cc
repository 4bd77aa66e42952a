#include "agent/wire_convert.h"

namespace ferry::agent {

v1::Session to_wire(const SessionInfo& info) {
    v1::Session wire;
    wire.set_id(info.id);
    wire.set_group(info.group);
    wire.set_role(name_of(info.role));
    wire.set_service(info.service);
    wire.set_source(info.source);
    wire.set_destination(info.destination);
    wire.set_state(migrate::name_of(info.state));
    wire.set_error(info.error);
    wire.set_started_ms(info.started_ms);
    wire.set_finished_ms(info.finished_ms);
    wire.set_report(info.report);
    *wire.mutable_progress() = to_wire(info.progress);
    return wire;
}

Result<SessionInfo> from_wire(const v1::Session& wire) {
    const auto state = migrate::session_state_from(wire.state());
    if (!state) return fail(Error::corrupt("the agent names an unknown state"));
    return SessionInfo{.id = wire.id(),
                       .group = wire.group(),
                       .role = wire.role() == "destination" ? Role::Destination : Role::Source,
                       .service = wire.service(),
                       .source = wire.source(),
                       .destination = wire.destination(),
                       .peer = {},
                       .state = *state,
                       .error = wire.error(),
                       .started_ms = wire.started_ms(),
                       .finished_ms = wire.finished_ms(),
                       .report = wire.report(),
                       .progress = from_wire(wire.progress())};
}

v1::Progress to_wire(const migrate::Progress& progress) {
    v1::Progress wire;
    wire.set_phase(progress.phase);
    wire.set_round(static_cast<std::uint32_t>(progress.round));
    wire.set_sent_bytes(progress.sent_bytes);
    wire.set_round_bytes(progress.round_bytes);
    wire.set_bytes_per_second(progress.bytes_per_second);
    wire.set_message(progress.message);
    return wire;
}

migrate::Progress from_wire(const v1::Progress& wire) {
    return {.phase = wire.phase(),
            .round = static_cast<int>(wire.round()),
            .sent_bytes = wire.sent_bytes(),
            .round_bytes = wire.round_bytes(),
            .bytes_per_second = wire.bytes_per_second(),
            .message = wire.message()};
}

v1::PingReply to_wire(const AgentIdentity& identity) {
    v1::PingReply wire;
    wire.set_name(identity.name);
    wire.set_version(identity.version);
    wire.set_protocol(identity.protocol);
    return wire;
}

AgentIdentity from_wire(const v1::PingReply& wire) {
    return {.name = wire.name(), .version = wire.version(), .protocol = wire.protocol()};
}

}  // namespace ferry::agent
