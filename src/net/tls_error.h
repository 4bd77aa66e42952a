// OpenSSL's reasons in words that an operator can act upon.
#pragma once

#include <openssl/ssl.h>

#include <string>

#include "base/error.h"

namespace ferry::net {

// The failure of the handshake that OpenSSL's error queue of this thread describes. `peer` names
// the other end, `expected` the name its certificate should carry (may be empty).
Error handshake_error(const SSL* ssl, const std::string& peer, const std::string& expected);
// The failure of an established connection.
Error stream_error(const std::string& peer);
// The oldest entry of this thread's error queue as text; empties the queue.
std::string take_openssl_reason();

}  // namespace ferry::net
