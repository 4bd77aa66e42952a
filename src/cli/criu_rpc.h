// The socket (SOCK_SEQPACKET) over which a container runtime asks a program that it has started as
// `criu swrk FD`: one request, one answer, and between the two, where the runtime wants it, notices
// that it confirms (https://criu.org/RPC). Whatever comes is treated as foreign. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/types.h"

namespace ferry::cli {

enum class RpcKind : std::uint32_t {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
};

struct RpcOptions {
    int images_directory = -1;  // descriptors of the peer's
    int work_directory = -1;    // -1: the images directory
    Pid root_process;           // of a dump
    std::string root_directory;
    std::string parent;  // images, counted from the images directory; empty: none
    bool leave_running = false;
    bool external_unix = false;
    bool tcp_established = false;
    bool shell_job = false;
    bool file_locks = false;
    std::uint64_t ghost_bytes_max = 0;
    std::string log_file;
    int verbosity = 0;
    std::string configuration;  // a file with more of CRIU's options, if it exists
    bool wants_notices = false;
    std::string refused;  // an option that would change the result and that Ferry does not have
};

struct RpcRequest {
    RpcKind kind = RpcKind::Version;  // or a number that is none of these
    std::optional<RpcOptions> options;
};

class RpcSocket {
  public:
    // `fd` is not owned. Invalid: it is no socket.
    static Result<RpcSocket> of(int fd);

    // Whoever made the socket: the runtime.
    [[nodiscard]] Pid peer() const { return peer_; }
    // nullopt: the peer has closed it. Corrupt, Limit.
    Result<std::optional<RpcRequest>> receive();

    Result<> answer_version();
    // Written pages are found, by comparing them; none of the others that can be asked for.
    Result<> answer_features();
    // `pid`: the root of a tree that was restored.
    Result<> answer(RpcKind kind, Pid pid = {});
    Result<> answer_error(RpcKind kind, const Error& error);
    // Waits until the peer has done what it wants to do at that point. Peer: it could not.
    Result<> notify(std::string_view script, Pid pid = {});
    // With the master of a container's terminal that nobody in it has.
    Result<> give_master(int master);

  private:
    Result<> await_confirmation(std::string_view script);
    RpcSocket(int fd, Pid peer) : fd_(fd), peer_(peer) {}
    int fd_;
    Pid peer_;
};

}  // namespace ferry::cli
