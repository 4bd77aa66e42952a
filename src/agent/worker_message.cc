#include "agent/worker_message.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace ferry::agent {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json json_of(const migrate::TlsFiles& files) {
    return {{"ca", files.ca}, {"certificate", files.certificate}, {"key", files.key}};
}

migrate::TlsFiles tls_files_of(const Json& json) {
    return {.ca = json.at("ca"), .certificate = json.at("certificate"), .key = json.at("key")};
}

Json json_of(const migrate::SourceRequest& request) {
    return {{"root", request.root.value},
            {"container", request.container},
            {"runtime_root", request.runtime_root},
            {"address", request.address},
            {"port", request.port},
            {"tls", json_of(request.tls)},
            {"max_downtime_ms", request.max_downtime.count()},
            {"max_rounds", request.max_rounds},
            {"on_no_convergence", name_of(request.on_no_convergence)},
            {"timeout_s", request.timeout.count()},
            {"shell_job", request.shell_job},
            {"check_cpu", request.check_cpu},
            {"method", migrate::name_of(request.method)},
            {"images_directory", request.images_directory},
            {"ghost_bytes_max", request.ghost_bytes_max},
            {"shared_storage", request.shared_storage}};
}

Json json_of(const migrate::DestinationRequest& request) {
    return {{"listen_address", request.listen_address},
            {"tls", json_of(request.tls)},
            {"accept_timeout_s", request.accept_timeout.count()},
            {"uplink", request.placement.uplink},
            {"bridge", request.placement.bridge},
            {"runtime_root", request.runtime_root},
            {"output", request.output},
            {"console_socket", request.console_socket}};
}

migrate::SourceRequest source_of(const Json& json, const SessionInfo& info) {
    migrate::SourceRequest request;
    request.session = info.id;
    request.service = info.service;
    request.root = Pid{json.at("root")};
    request.container = json.at("container");
    request.runtime_root = json.at("runtime_root");
    request.source_name = info.source;
    request.destination_name = info.destination;
    request.address = json.at("address");
    request.port = json.at("port");
    request.tls = tls_files_of(json.at("tls"));
    request.max_downtime =
        std::chrono::milliseconds(json.at("max_downtime_ms").get<std::int64_t>());
    request.max_rounds = json.at("max_rounds");
    request.on_no_convergence =
        migrate::on_no_convergence_from(json.at("on_no_convergence").get<std::string>())
            .value_or(migrate::OnNoConvergence::StopCopy);
    request.timeout = std::chrono::seconds(json.at("timeout_s").get<std::int64_t>());
    request.shell_job = json.at("shell_job");
    request.check_cpu = json.at("check_cpu");
    request.method = migrate::method_from(json.at("method")).value_or(migrate::Method::Live);
    request.images_directory = json.at("images_directory");
    request.ghost_bytes_max = json.at("ghost_bytes_max");
    request.shared_storage = json.at("shared_storage");
    return request;
}

migrate::DestinationRequest destination_of(const Json& json, const SessionInfo& info) {
    migrate::DestinationRequest request;
    request.session = info.id;
    request.source_name = info.source;
    request.destination_name = info.destination;
    request.listen_address = json.at("listen_address");
    request.tls = tls_files_of(json.at("tls"));
    request.accept_timeout = std::chrono::seconds(json.at("accept_timeout_s").get<std::int64_t>());
    request.placement = {.uplink = json.at("uplink"), .bridge = json.at("bridge")};
    request.runtime_root = json.at("runtime_root");
    request.output = json.at("output");
    request.console_socket = json.at("console_socket");
    return request;
}

// Runs a decoder of nlohmann-json, which throws.
template <class T, class Decode>
Result<T> decoded(const std::string& text, Decode decode) {
    try {
        return decode(Json::parse(text));
    } catch (const Json::exception& exception) {
        return fail(Error::corrupt(fmt::format("worker message: {}", exception.what())));
    }
}

}  // namespace

std::string to_json(const WorkerSetup& setup) {
    return text_of({{"info", to_json(setup.info)},
                    {"store", setup.store_directory},
                    {"peer_host", setup.peer.at.host},
                    {"peer_port", setup.peer.at.port},
                    {"peer_name", setup.peer.name},
                    {"log_level", setup.log_level},
                    {"source", json_of(setup.source)},
                    {"destination", json_of(setup.destination)}});
}

Result<WorkerSetup> worker_setup_from_json(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("info") || !json["info"].is_string()) {
        return fail(Error::corrupt("worker message: no session"));
    }
    const SessionInfo info = TRY(session_info_from_json(json["info"].get<std::string>()));
    return decoded<WorkerSetup>(text, [&](const Json& parsed) {
        WorkerSetup setup;
        setup.info = info;
        setup.store_directory = parsed.at("store");
        setup.peer = {.at = {.host = parsed.at("peer_host"), .port = parsed.at("peer_port")},
                      .name = parsed.at("peer_name")};
        setup.log_level = parsed.at("log_level");
        setup.source = source_of(parsed.at("source"), info);
        setup.destination = destination_of(parsed.at("destination"), info);
        return setup;
    });
}

std::string to_json(const WorkerEvent& event) {
    switch (event.kind) {
        case WorkerEvent::Kind::Progress:
            return text_of({{"event", "progress"},
                            {"phase", event.progress.phase},
                            {"round", event.progress.round},
                            {"sent_bytes", event.progress.sent_bytes},
                            {"round_bytes", event.progress.round_bytes},
                            {"bytes_per_second", event.progress.bytes_per_second},
                            {"message", event.progress.message}});
        case WorkerEvent::Kind::State:
            return text_of({{"event", "state"}, {"state", migrate::name_of(event.state)}});
        case WorkerEvent::Kind::Listening:
            return text_of({{"event", "listening"}, {"port", event.port}});
        case WorkerEvent::Kind::Finished:
            break;
    }
    return text_of({{"event", "finished"}, {"report", event.report}, {"error", event.error}});
}

Result<WorkerEvent> worker_event_from_json(const std::string& text) {
    return decoded<WorkerEvent>(text, [](const Json& json) {
        WorkerEvent event;
        const std::string kind = json.at("event");
        if (kind == "progress") {
            event.progress = {.phase = json.at("phase"),
                              .round = json.at("round"),
                              .sent_bytes = json.at("sent_bytes"),
                              .round_bytes = json.at("round_bytes"),
                              .bytes_per_second = json.at("bytes_per_second"),
                              .message = json.at("message")};
        } else if (kind == "state") {
            event.kind = WorkerEvent::Kind::State;
            event.state = migrate::session_state_from(json.at("state").get<std::string>())
                              .value_or(migrate::SessionState::Unknown);
        } else if (kind == "listening") {
            event.kind = WorkerEvent::Kind::Listening;
            event.port = json.at("port");
        } else {
            event.kind = WorkerEvent::Kind::Finished;
            event.report = json.at("report");
            event.error = json.at("error");
        }
        return event;
    });
}

}  // namespace ferry::agent
