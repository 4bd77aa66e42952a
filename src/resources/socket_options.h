// SO_* and TCP_* options of a socket, read and set; what plain_options.h and socket_filter.h are
// about is set here, but read there.
#pragma once

#include <map>
#include <string>

#include "base/error.h"
#include "model/files.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

// Must run before TCP_REPAIR is switched on, which overwrites SO_REUSEADDR.
Result<model::SocketOptions> read_socket_options(int fd, const SocketKind& kind);

// The options of fresh sockets, by kind.
class FreshOptions {
  public:
    Result<const model::SocketOptions*> of(const SocketKind& kind);

  private:
    std::map<SocketKind, model::SocketOptions> known_;
};

// Sets what differs from `current`, the options of a fresh socket of this kind. Not set here: what
// has to be set at a certain moment (SO_REUSEADDR, SO_REUSEPORT, SO_BINDTODEVICE).
Result<> apply_socket_options(int fd, const SocketKind& kind, const model::SocketOptions& wanted,
                              const model::SocketOptions& current);

// SO_SNDBUF and SO_RCVBUF: before connect, because the receive window is derived from them. Setting
// a size also locks it (the kernel no longer tunes it), so apply_buffer_locks() must follow at the
// end.
Result<> apply_buffer_sizes(int fd, const model::SocketOptions& wanted,
                            const model::SocketOptions& current);
Result<> apply_buffer_locks(int fd, const model::SocketOptions& wanted);

// All three for a socket that is fresh itself and never connects.
Result<> apply_options_at_once(int fd, const SocketKind& kind, const model::SocketOptions& wanted);

}  // namespace ferry::resources
