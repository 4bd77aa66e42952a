// Options of sockets whose value is one int: which are carried, which are refused by name, read and
// set. The options that the images of CRIU have fields for are in socket_options.h.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "resources/descriptions.h"
#include "resources/socket_kind.h"

namespace ferry::resources {

// Knows the values that fresh sockets have in the caller's network namespace, each kind looked at
// once.
class PlainOptionReader {
  public:
    // What differs from a fresh socket's, in the order in which it is to be set. `listening`: some
    // options mean something on a listening socket only. Refused by name: what is not carried.
    Result<std::vector<model::PlainOption>> read(int fd, const SocketKind& kind, bool listening,
                                                 const Holder& holder);

  private:
    using Values = std::vector<std::optional<int>>;  // by row of the table; none: not there
    Result<const Values*> fresh(const SocketKind& kind);
    std::map<SocketKind, Values> fresh_;
};

// The name of one that reports how a datagram came (IP_PKTINFO): a datagram that is given back to
// its socket comes another way. Empty if there is none.
[[nodiscard]] std::string arrival_option(std::span<const model::PlainOption> options);

// Error::corrupt for an option that this kind of socket is not given.
Result<> apply_plain_options(int fd, const SocketKind& kind,
                             std::span<const model::PlainOption> options);

}  // namespace ferry::resources
