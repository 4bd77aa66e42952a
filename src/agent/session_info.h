// What an agent knows of one session: the value behind status, history and the decision files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/process_table.h"
#include "base/error.h"
#include "base/types.h"
#include "migrate/session.h"
#include "net/endpoint.h"

namespace ferry::agent {

enum class Role { Source, Destination };
[[nodiscard]] const char* name_of(Role role);

struct SessionInfo {
    std::string id;  // 32 hexadecimal digits
    // The same for all that are moved together, 32 hexadecimal digits; empty: moved alone.
    std::string group = {};
    // The decision of its group is kept by the peer's agent.
    bool decided_at_peer = false;
    Role role = Role::Source;
    std::string service;  // as the user named it
    std::string source, destination;
    // The root of the tree: a source's, and a destination's in state Running.
    KnownProcess root = {};
    // Of a source: what it has put into SIGSTOP, or is about to. Of a destination in state Running:
    // the whole tree.
    std::vector<KnownProcess> processes = {};
    // Of a destination in state Running: its tree runs whatever becomes of the worker. Until then
    // it dies with the worker.
    bool released = false;
    net::Endpoint peer;  // a source's: where the destination's agent answers
    migrate::SessionState state = migrate::SessionState::Precopy;
    std::string error;             // one line; empty while all is well
    std::int64_t started_ms = 0;   // since 1970
    std::int64_t finished_ms = 0;  // 0: not yet
    std::string report;            // JSON (migrate/report.h); only a finished source has one
    migrate::Progress progress;    // the latest; not stored
};

// A source that has decided, and whose worker ended before it knew whether the service runs at the
// destination; or that has voted (Ready) and has not heard what is decided there. Only the
// destination can tell.
[[nodiscard]] bool is_outcome_unknown(const SessionInfo& info);

// What the peer is told. A destination that has decided to run, but does not run yet, is Ready: its
// worker may still die with the tree.
[[nodiscard]] migrate::SessionState state_for_peer(const SessionInfo& info);

[[nodiscard]] std::int64_t now_ms();
// A new random session id.
Result<std::string> new_session_id();
[[nodiscard]] bool is_session_id(const std::string& id);

// One JSON object. Progress is left out. Corrupt if it is none of ours.
[[nodiscard]] std::string to_json(const SessionInfo& info);
Result<SessionInfo> session_info_from_json(const std::string& text);

}  // namespace ferry::agent
