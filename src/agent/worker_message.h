// What agent and worker say to each other on their SOCK_SEQPACKET pair: one JSON object per packet.
//
//   agent  -> worker   WorkerSetup once; later "abort", which stays unread: the descriptor being
//                      readable *is* the wish to abort, and so is its end when the agent dies
//   worker -> agent    WorkerEvents
//
// A worker is ferryd itself, run as `ferryd session-worker`, with the descriptors below.
#pragma once

#include <cstdint>
#include <string>

#include "agent/session_info.h"
#include "base/error.h"
#include "migrate/session.h"
#include "net/endpoint.h"
#include "net/tls_channel.h"

namespace ferry::agent {

inline constexpr int kWorkerControlFd = 3;
inline constexpr int kWorkerLockFd = 4;
inline constexpr int kWorkerGateFd = 5;  // of a group's member (agent/group_words.h)
inline constexpr const char* kWorkerVerb = "session-worker";
inline constexpr const char* kOutcomeVerb = "query-outcome";
// What has been decided of a group: asked, and asked by one that otherwise decides against it.
inline constexpr const char* kDecisionVerb = "query-decision";
inline constexpr const char* kGiveUpVerb = "query-decision-or-abort";
inline constexpr const char* kUndecided = "undecided";
// A report with a hundred rounds is about 20 KiB; the kernel takes packets up to wmem_default (208
// KiB).
inline constexpr std::size_t kWorkerPacketBytesMax = 192u << 10;

// Another agent: where it listens and the name that its certificate must carry.
struct PeerAgent {
    net::Endpoint at;
    std::string name;
};

struct WorkerSetup {
    SessionInfo info;
    std::string store_directory;
    PeerAgent peer;  // whom peer_state() asks
    int log_level = 3;
    // Of these the one of info.role is meant.
    migrate::SourceRequest source;
    migrate::DestinationRequest destination;
};

struct WorkerEvent {
    enum class Kind { Progress, State, Listening, Finished };
    Kind kind = Kind::Progress;
    migrate::Progress progress = {};
    migrate::SessionState state = migrate::SessionState::Unknown;
    std::uint16_t port = 0;
    std::string report = {};  // JSON, of a finished source
    std::string error = {};   // of a finished session; empty: success
};

[[nodiscard]] std::string to_json(const WorkerSetup& setup);
Result<WorkerSetup> worker_setup_from_json(const std::string& text);
[[nodiscard]] std::string to_json(const WorkerEvent& event);
Result<WorkerEvent> worker_event_from_json(const std::string& text);

}  // namespace ferry::agent
