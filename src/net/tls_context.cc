#include "net/tls_context.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/check.h"
#include "net/tls_error.h"

namespace ferry::net {

TlsIdentity TlsIdentity::in_directory(const std::string& directory, const std::string& name) {
    return {.ca = directory + "/ca.crt",
            .certificate = directory + "/" + name + ".crt",
            .key = directory + "/" + name + ".key"};
}

TlsContext::TlsContext(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsContext::TlsContext(TlsContext&&) noexcept = default;
TlsContext& TlsContext::operator=(TlsContext&&) noexcept = default;
TlsContext::~TlsContext() = default;

Result<TlsContext> TlsContext::load(const TlsIdentity& identity) {
    ERR_clear_error();
    SSL_CTX* const context = SSL_CTX_new(TLS_method());
    CHECK(context != nullptr);
    auto state = std::make_unique<State>(
        State{.context = std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)>(context, SSL_CTX_free)});
    CHECK(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1);
    CHECK(SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1);
    // The fastest AEAD of 256 bits on every CPU with AES instructions.
    CHECK(SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") == 1);
    // Every connection proves both certificates; nothing is resumed.
    CHECK(SSL_CTX_set_num_tickets(context, 0) == 1);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);

    const auto unusable = [](const std::string& path) {
        return fail(Error::invalid(fmt::format("{}: {}", path, take_openssl_reason())));
    };
    if (SSL_CTX_load_verify_file(context, identity.ca.c_str()) != 1) return unusable(identity.ca);
    if (SSL_CTX_use_certificate_chain_file(context, identity.certificate.c_str()) != 1) {
        return unusable(identity.certificate);
    }
    if (SSL_CTX_use_PrivateKey_file(context, identity.key.c_str(), SSL_FILETYPE_PEM) != 1) {
        return unusable(identity.key);
    }
    return TlsContext(std::move(state));
}

}  // namespace ferry::net
