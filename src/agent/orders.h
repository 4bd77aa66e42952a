// What people and peers ask of an agent, as plain values: the same for the server, which gets them
// from gRPC, and for the clients.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/session_info.h"
#include "migrate/session.h"

namespace ferry::agent {

// The control protocol between agents. Agents of different numbers do not work together (I8).
inline constexpr std::uint32_t kControlProtocol = 3;
inline constexpr const char* kVersion = "0.1.0";
inline constexpr const char* kControlSocket = "/run/ferry/ferryd.sock";

struct AgentIdentity {
    std::string name;
    std::string version;
    std::uint32_t protocol = 0;
};

struct MigrateOrder {
    std::string service;  // a pid or a name
    // More of them, which move together with it: a group.
    std::vector<std::string> others = {};
    // Services of the destination that come here in the same moment: of the same group.
    std::vector<std::string> swap = {};
    std::string destination;            // HOST[:PORT]
    std::string destination_name = {};  // in its certificate; empty: the HOST
    std::chrono::milliseconds max_downtime{50};
    unsigned max_rounds = 30;
    migrate::OnNoConvergence on_no_convergence = migrate::OnNoConvergence::StopCopy;
    std::chrono::seconds timeout{0};  // 0: none
    bool shell_job = false;
    bool check_cpu = true;
    std::string bridge = {};  // of the destination, for a container; empty: as at the source
    // Of the destination, for what a container writes into a pipe to its logger; empty: the
    // default.
    std::string output = {};
    // Of the destination: who gets the master of a container's terminal; empty: the same file.
    std::string console_socket = {};
    std::uint64_t ghost_bytes_max = migrate::kGhostBytesDefault;
    migrate::Method method = migrate::Method::Live;
    std::string images_directory = {};  // of the source; empty: in memory
    bool shared_storage = false;
};

struct PrepareOrder {
    std::uint32_t protocol = kControlProtocol;
    std::string session;
    std::string service;
    std::string source;        // from the certificate of the caller, never from the message
    std::string control_host;  // where the source's agent answers
    std::uint16_t control_port = 0;
    std::string bridge = {};
    std::string output = {};
    std::string console_socket = {};
    std::string group = {};     // empty: none
    bool decided_here = false;  // the destination's agent keeps its decision
};

// Services of one host that move to another, as members of a group that the other keeps.
struct FetchOrder {
    MigrateOrder order;  // from the caller's side
    std::string group;
    std::string control_host;  // where the caller's agent answers
    std::uint16_t control_port = 0;
};

// What comes back.
struct FetchEvent {
    enum class Kind { Started, Word, Progress, Finished };
    Kind kind = Kind::Word;
    std::size_t member = 0;  // its place in the order
    SessionInfo session = {};
    std::string word = {};  // empty: there are no more
    std::string why = {};   // then; empty: all is well, or nobody knows
    migrate::Progress progress = {};
};

struct Prepared {
    std::string data_address;  // empty: the address by which the control connection was made
    std::uint16_t data_port = 0;
};

}  // namespace ferry::agent
