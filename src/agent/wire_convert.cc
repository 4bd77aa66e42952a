#include "agent/wire_convert.h"

#include <fmt/format.h>

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

v1::MigrateRequest to_wire(const MigrateOrder& order) {
    v1::MigrateRequest wire;
    wire.set_service(order.service);
    *wire.mutable_others() = {order.others.begin(), order.others.end()};
    *wire.mutable_swap() = {order.swap.begin(), order.swap.end()};
    wire.set_to(order.destination);
    wire.set_max_downtime_ms(static_cast<std::uint32_t>(order.max_downtime.count()));
    wire.set_max_rounds(order.max_rounds);
    wire.set_timeout_s(static_cast<std::uint32_t>(order.timeout.count()));
    wire.set_shell_job(order.shell_job);
    wire.set_any_cpu(!order.check_cpu);
    wire.set_bridge(order.bridge);
    wire.set_output(order.output);
    wire.set_console_socket(order.console_socket);
    wire.set_ghost_bytes_max(order.ghost_bytes_max);
    wire.set_method(migrate::name_of(order.method));
    wire.set_images_directory(order.images_directory);
    wire.set_shared_storage(order.shared_storage);
    wire.set_on_no_convergence(std::string(name_of(order.on_no_convergence)));
    return wire;
}

Result<MigrateOrder> from_wire(const v1::MigrateRequest& wire) {
    const auto method = migrate::method_from(wire.method().empty() ? "live" : wire.method());
    if (!method) {
        return fail(Error::invalid(fmt::format("there is no method \"{}\"", wire.method())));
    }
    const auto choice = migrate::on_no_convergence_from(
        wire.on_no_convergence().empty() ? "stop-copy" : wire.on_no_convergence());
    if (!choice) {
        return fail(Error::invalid(fmt::format("there is no choice \"{}\" without convergence",
                                               wire.on_no_convergence())));
    }
    return MigrateOrder{.service = wire.service(),
                        .others = {wire.others().begin(), wire.others().end()},
                        .swap = {wire.swap().begin(), wire.swap().end()},
                        .destination = wire.to(),
                        .max_downtime = std::chrono::milliseconds(wire.max_downtime_ms()),
                        .max_rounds = wire.max_rounds(),
                        .on_no_convergence = *choice,
                        .timeout = std::chrono::seconds(wire.timeout_s()),
                        .shell_job = wire.shell_job(),
                        .check_cpu = !wire.any_cpu(),
                        .bridge = wire.bridge(),
                        .output = wire.output(),
                        .console_socket = wire.console_socket(),
                        .ghost_bytes_max = wire.ghost_bytes_max(),
                        .method = *method,
                        .images_directory = wire.images_directory(),
                        .shared_storage = wire.shared_storage()};
}

v1::FetchRequest to_wire(const FetchOrder& order) {
    v1::FetchRequest wire;
    *wire.mutable_order() = to_wire(order.order);
    wire.set_control_host(order.control_host);
    wire.set_control_port(order.control_port);
    wire.set_group(order.group);
    return wire;
}

Result<FetchOrder> from_wire(const v1::FetchRequest& wire) {
    if (wire.control_port() == 0 || wire.control_port() > 65535) {
        return fail(Error::invalid("the caller's agent names no port"));
    }
    if (!is_session_id(wire.group())) return fail(Error::invalid("this is no group"));
    return FetchOrder{.order = TRY(from_wire(wire.order())),
                      .group = wire.group(),
                      .control_host = wire.control_host(),
                      .control_port = static_cast<std::uint16_t>(wire.control_port())};
}

Result<FetchEvent> from_wire(const v1::FetchEvent& wire) {
    using Kind = FetchEvent::Kind;
    FetchEvent event = {.member = wire.member()};
    if (wire.has_started() || wire.has_finished()) {
        event.kind = wire.has_started() ? Kind::Started : Kind::Finished;
        event.session = TRY(from_wire(wire.has_started() ? wire.started() : wire.finished()));
    } else if (wire.has_progress()) {
        event.kind = Kind::Progress;
        event.progress = from_wire(wire.progress());
    } else {
        event.member = wire.word().member();
        event.word = wire.word().word();
        event.why = wire.word().why();
    }
    return event;
}

v1::FetchEvent to_wire(const FetchEvent& event) {
    using Kind = FetchEvent::Kind;
    v1::FetchEvent wire;
    const auto member = static_cast<std::uint32_t>(event.member);
    wire.set_member(member);
    if (event.kind == Kind::Started) *wire.mutable_started() = to_wire(event.session);
    if (event.kind == Kind::Finished) *wire.mutable_finished() = to_wire(event.session);
    if (event.kind == Kind::Progress) *wire.mutable_progress() = to_wire(event.progress);
    if (event.kind == Kind::Word) {
        wire.mutable_word()->set_member(member);
        wire.mutable_word()->set_word(event.word);
        wire.mutable_word()->set_why(event.why);
    }
    return wire;
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
