#include "agent/session_info.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>

#include "os/fd.h"

namespace ferry::agent {

using migrate::SessionState;

const char* name_of(Role role) {
    return role == Role::Source ? "source" : "destination";
}

bool is_outcome_unknown(const SessionInfo& info) {
    const bool is_asking =
        info.state == SessionState::Committed || info.state == SessionState::Ready;
    return info.role == Role::Source && is_asking && info.finished_ms != 0;
}

SessionState state_for_peer(const SessionInfo& info) {
    const bool may_die = info.role == Role::Destination && info.state == SessionState::Running &&
                         !info.released && info.finished_ms == 0;
    return may_die ? SessionState::Ready : info.state;
}

std::int64_t now_ms() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

Result<std::string> new_session_id() {
    std::array<std::byte, 16> random = {};
    const os::UniqueFd source = TRY(os::open("/dev/urandom", O_RDONLY));
    TRY(os::read_all(source.get(), random));
    std::string id;
    for (const std::byte b : random) id += fmt::format("{:02x}", std::to_integer<unsigned>(b));
    return id;
}

bool is_session_id(const std::string& id) {
    return id.size() == 32 && std::ranges::all_of(id, [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           });
}

namespace {

nlohmann::json to_json(const std::vector<KnownProcess>& processes) {
    nlohmann::json json = nlohmann::json::array();
    for (const KnownProcess& process : processes) {
        json.push_back({process.pid.value, process.started});
    }
    return json;
}

std::vector<KnownProcess> processes_from(const nlohmann::json& json) {
    std::vector<KnownProcess> processes;
    for (const auto& process : json) {
        processes.push_back({.pid = Pid{process.at(0).get<std::int32_t>()},
                             .started = process.at(1).get<std::uint64_t>()});
    }
    return processes;
}

}  // namespace

std::string to_json(const SessionInfo& info) {
    const nlohmann::json json = {
        {"session", info.id},
        {"group", info.group},
        {"decided_at_peer", info.decided_at_peer},
        {"root", info.root.pid.value},
        {"root_started", info.root.started},
        {"processes", to_json(info.processes)},
        {"released", info.released},
        {"role", name_of(info.role)},
        {"service", info.service},
        {"source", info.source},
        {"destination", info.destination},
        {"peer_host", info.peer.host},
        {"peer_port", info.peer.port},
        {"state", migrate::name_of(info.state)},
        {"error", info.error},
        {"started_ms", info.started_ms},
        {"finished_ms", info.finished_ms},
        {"report", info.report},
    };
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<SessionInfo> session_info_from_json(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        SessionInfo info;
        json.at("session").get_to(info.id);
        info.role = json.at("role") == "source" ? Role::Source : Role::Destination;
        json.at("service").get_to(info.service);
        json.at("source").get_to(info.source);
        json.at("destination").get_to(info.destination);
        // Absent from what earlier versions wrote.
        info.group = json.value("group", "");
        info.decided_at_peer = json.value("decided_at_peer", false);
        info.root = {.pid = Pid{json.value("root", 0)},
                     .started = json.value("root_started", std::uint64_t{0})};
        if (json.contains("processes")) info.processes = processes_from(json.at("processes"));
        info.released = json.value("released", false);
        info.peer = {.host = json.value("peer_host", ""),
                     .port = json.value("peer_port", std::uint16_t{0})};
        const auto state = migrate::session_state_from(json.at("state").get<std::string>());
        if (!state) return fail(Error::corrupt("session file: unknown state"));
        info.state = *state;
        json.at("error").get_to(info.error);
        json.at("started_ms").get_to(info.started_ms);
        json.at("finished_ms").get_to(info.finished_ms);
        json.at("report").get_to(info.report);
        if (!is_session_id(info.id) || (!info.group.empty() && !is_session_id(info.group)))
            return fail(Error::corrupt("session file: bad id"));
        return info;
    } catch (const nlohmann::json::exception& exception) {
        return fail(Error::corrupt(fmt::format("session file: {}", exception.what())));
    }
}

}  // namespace ferry::agent
