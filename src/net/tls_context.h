// What is behind TlsContext; for the files of net/ only.
#pragma once

#include <openssl/ssl.h>

#include <memory>

#include "net/tls_channel.h"

namespace ferry::net {

struct TlsContext::State {
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context;
};

}  // namespace ferry::net
