#include "net/tls_error.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

namespace ferry::net {
namespace {

std::string common_name_of_peer(const SSL* ssl) {
    // SSL_get0_peer_certificate() gives only certificates that were accepted.
    const STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl);
    if (chain == nullptr || sk_X509_num(chain) == 0) return "another host";
    const X509* certificate = sk_X509_value(chain, 0);
    char name[256] = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                              sizeof(name));
    return name;
}

// Our verdict on the peer's certificate.
Error verification_error(const SSL* ssl, const std::string& peer, const std::string& expected) {
    const long verdict = SSL_get_verify_result(ssl);
    switch (verdict) {
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
            return Error::peer(fmt::format("{}: its certificate is for {}, not for {}", peer,
                                           common_name_of_peer(ssl), expected));
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return Error::peer(fmt::format("{}: its certificate has expired", peer));
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return Error::peer(fmt::format("{}: its certificate is not valid yet", peer));
        default:
            return Error::peer(fmt::format("{}: its certificate is not of our CA ({})", peer,
                                           X509_verify_cert_error_string(verdict)));
    }
}

}  // namespace

std::string take_openssl_reason() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return "unknown reason";
    if (ERR_SYSTEM_ERROR(code)) return errno_name(static_cast<int>(ERR_GET_REASON(code)));
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : fmt::format("OpenSSL error {:#x}", code);
}

Error handshake_error(const SSL* ssl, const std::string& peer, const std::string& expected) {
    const unsigned long code = ERR_peek_error();
    const std::string reason = take_openssl_reason();
    // Whom we connect to should be an agent; who connects to us may be anybody.
    const char* const judgement = SSL_is_server(ssl) == 1 ? "" : "; this is no Ferry agent";
    switch (ERR_GET_REASON(code)) {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            return verification_error(ssl, peer, expected);
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return Error::peer(fmt::format("{}: it has no certificate", peer));
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return Error::peer(fmt::format("{}: it wants a certificate of us", peer));
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
            return Error::peer(
                fmt::format("{}: it refuses our certificate as not of its CA", peer));
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
            return Error::peer(
                fmt::format("{}: it refuses our certificate as not for our name", peer));
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
            return Error::peer(fmt::format("{}: it refuses our certificate as expired", peer));
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
            return Error::peer(fmt::format("{}: it refuses our certificate ({})", peer, reason));
        case SSL_R_UNEXPECTED_EOF_WHILE_READING:
            return Error::peer(fmt::format("{}: it closed the connection during the handshake{}",
                                           peer, judgement));
        default:
            return Error::peer(
                fmt::format("{}: it does not speak TLS 1.3 ({}){}", peer, reason, judgement));
    }
}

Error stream_error(const std::string& peer) {
    const unsigned long code = ERR_peek_error();
    const std::string reason = take_openssl_reason();
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING || code == 0) {
        return Error::gone(fmt::format("{}: it closed the connection", peer));
    }
    return Error::peer(fmt::format("{}: {}", peer, reason));
}

}  // namespace ferry::net
