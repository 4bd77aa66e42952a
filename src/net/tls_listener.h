// Waiting for one certain peer on a port that anybody can reach.
#pragma once

#include <string>

#include "base/error.h"
#include "net/deadline.h"
#include "net/listener.h"
#include "net/tls_channel.h"

namespace ferry::net {

// The first connection whose certificate carries `expected_peer`. Others (port scanners, hosts with
// other names) are turned away one after the other, with some seconds for each, and logged at debug
// level. ETIMEDOUT after the deadline: the last one's fault is told. Aborted once `interrupt` is
// readable.
Result<TlsChannel> accept_peer(const Listener& listener, const TlsContext& context,
                               const std::string& expected_peer, Deadline deadline, int interrupt);

}  // namespace ferry::net
