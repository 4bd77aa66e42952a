// SO_*, TCP_* and IP_* options of a socket, read and set.
#pragma once

#include <map>
#include <string>

#include "base/error.h"
#include "model/files.h"

namespace ferry::resources {

// family and type as of socket(2).
struct SocketKind {
    int family = 0;
    int type = 0;
    int protocol = 0;
    auto operator<=>(const SocketKind&) const = default;
};

// Must run before TCP_REPAIR is switched on, which overwrites SO_REUSEADDR.
Result<model::SocketOptions> read_socket_options(int fd, const SocketKind& kind);

// The options of fresh sockets, by kind.
class FreshOptions {
  public:
    Result<const model::SocketOptions*> of(const SocketKind& kind);

  private:
    std::map<SocketKind, model::SocketOptions> known_;
};

// The name of an option of IP or TCP that is not carried and differs from a fresh socket's
// ("IP_TOS"); empty if there is none.
Result<std::string> unusual_option(int fd, const SocketKind& kind);

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

}  // namespace ferry::resources
