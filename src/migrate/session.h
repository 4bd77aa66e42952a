// One migration session, both halves. Each half is a blocking function that runs in a process of
// its own (a worker of ferryd), single-threaded because one thread traces (I5). The agent that
// started the worker is reached through SessionHost.
//
//   source                                     destination
//   Precopy   Hello, Layout, Pages, RoundEnd -> Staged      any failure: both sides roll back
//   Frozen    last Pages, Final ------------->              any failure: thaw; stubs are killed
//             <------------------------------- Ready        everything restored, ptrace-stopped
//   Committed (recorded first) Commit ------->              the source never resumes from here on
//             <------------------------------- Running      (recorded first)
//   Done      tree killed
//
// With Method::Checkpoint there is no pre-copy, and between Frozen and Ready come Image frames and
// Restore: the whole state as image files, written here and read there while the service stands
// still.
//
// A link cut between Commit and Running leaves the outcome unknown to the source: it keeps the tree
// frozen and asks the destination's agent through SessionHost::peer_state() until it gets an
// answer. A link cut between Ready and Commit is the same question the other way round.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/types.h"
#include "handover/network_move.h"
#include "migrate/no_convergence.h"
#include "migrate/report.h"

namespace ferry::migrate {

// The states that an agent records and answers its peer with, in order.
enum class SessionState {
    Unknown,    // this agent has no such session
    Precopy,    // nothing decided; the service runs at the source
    Ready,      // could run, or could let go: waits for the decision, which is the other host's
    Committed,  // source only: the decision is taken, the source will never resume
    Running,    // destination only: the service runs here, or will in a moment
    Done,       // finished, the service is at the destination
    Aborted,    // given up; this side holds nothing of it and will never run or commit it
};
[[nodiscard]] const char* name_of(SessionState state);
[[nodiscard]] std::optional<SessionState> session_state_from(const std::string& name);

// Progress, for people and for `--json=lines`.
struct Progress {
    std::string phase;  // "connect", "stage", "precopy", "freeze", "commit", "done", "rollback"
    int round = 0;
    std::uint64_t sent_bytes = 0;   // page content so far
    std::uint64_t round_bytes = 0;  // expected in this round
    double bytes_per_second = 0;
    std::string message;  // one line, may be empty
};

class GroupGate;

// What a session needs of the agent that runs it. Implemented by agent/; all calls come from the
// session's thread.
class SessionHost {
  public:
    SessionHost() = default;
    SessionHost(const SessionHost&) = delete;
    SessionHost& operator=(const SessionHost&) = delete;
    virtual ~SessionHost() = default;

    virtual void progress(const Progress& progress) = 0;
    // True once somebody wants the session to end, or the agent itself is gone. Checked often.
    virtual bool abort_requested() = 0;
    // Readable when abort_requested() may have changed: to be polled beside the data channel.
    [[nodiscard]] virtual int control_fd() const = 0;
    // Records the state before it is acted upon; when this fails the session does not go on.
    virtual Result<> record(SessionState state) = 0;
    // Of a source: these are put into SIGSTOP from here on, so that they do not go on by themselves
    // while somebody else decides. If nobody of this process and its guardian is left, and the
    // decision is to stay, the agent lets them go.
    virtual Result<> record_held(std::span<const Pid> processes) {
        static_cast<void>(processes);
        return {};
    }
    // Of a destination, Running: the tree of these processes, its root first, runs from here on,
    // and dies with this process until released() is recorded. If it does die, the source has it.
    virtual Result<> record_running(std::span<const Pid> processes) {
        static_cast<void>(processes);
        return record(SessionState::Running);
    }
    virtual Result<> record_released() { return {}; }
    // Of a destination that is ready, and that somebody here wants an end of. False: its group's
    // decision is kept here, and it is to go; only its source can say more.
    virtual bool may_give_up() { return true; }
    // Asks the peer's agent what became of the session there. Fails if it cannot be reached now.
    virtual Result<SessionState> peer_state() = 0;
    // Of a source that is moved together with others (migrate/group_gate.h); otherwise none.
    [[nodiscard]] virtual GroupGate* group() { return nullptr; }
};

// Deleted files that are open travel with the frozen checkpoint, in one frame.
inline constexpr std::uint64_t kGhostBytesDefault = 1 << 20;
inline constexpr std::uint64_t kGhostBytesMax = 32 << 20;

enum class Method {
    Live,
    Checkpoint,  // through image files, as `ferry dump` and `ferry restore` do
};
[[nodiscard]] const char* name_of(Method method);  // "live", "checkpoint"
[[nodiscard]] std::optional<Method> method_from(const std::string& name);

struct TlsFiles {
    std::string ca, certificate, key;  // PEM
};

struct SourceRequest {
    std::string session;
    std::string service;  // as the user named it
    Pid root;             // without a container
    // The container that the tree is, by its runtime's name for it; empty: a tree of processes.
    std::string container = {};
    std::string runtime_root = {};              // where its runtime keeps states
    std::string source_name, destination_name;  // names in the certificates
    std::string address;                        // of the destination's data listener
    std::uint16_t port = 0;
    TlsFiles tls;
    std::chrono::milliseconds max_downtime{50};
    int max_rounds = 30;
    OnNoConvergence on_no_convergence = OnNoConvergence::StopCopy;
    std::chrono::seconds timeout{0};  // of the whole pre-copy; 0: none
    bool shell_job = false;
    bool check_cpu = true;  // refused where the destination's CPU lacks a feature of this one's
    Method method = Method::Live;
    std::string images_directory = {};  // in which image files are written; empty: in memory
    std::uint64_t ghost_bytes_max = kGhostBytesDefault;  // of each deleted file that is open
    bool shared_storage = false;  // a container's files are not sent, nor is it asked about
};

struct DestinationRequest {
    std::string session;
    std::string source_name, destination_name;
    std::string listen_address;  // the data listener takes any free port of it
    TlsFiles tls;
    std::chrono::seconds accept_timeout{30};
    handover::Placement placement;  // of the service's network devices at this host
    std::string runtime_root = {};  // where the runtime of containers keeps states here
    // As of container::CreationOptions.
    std::string output = {}, console_socket = {};
};

// Moves the tree. On success the service runs at the destination and is gone here; on failure it
// runs here as before (Report::error says why), except Error::Kind::Peer with "outcome unknown".
// Returns the report in both cases; Report::succeeded tells.
[[nodiscard]] Report run_source(const SourceRequest& request, SessionHost& host);

// `announce_port` is called once the data listener is open, before anything is accepted.
class PortSink {
  public:
    PortSink() = default;
    PortSink(const PortSink&) = delete;
    PortSink& operator=(const PortSink&) = delete;
    virtual ~PortSink() = default;
    virtual void listening(std::uint16_t port) = 0;
};
[[nodiscard]] Result<> run_destination(const DestinationRequest& request, SessionHost& host,
                                       PortSink& port);

}  // namespace ferry::migrate
