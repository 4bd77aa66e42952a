// A certificate authority of our own: one small CA per installation that signs one certificate per
// host. ECDSA on P-256. Files are PEM, mode 0600, in a directory of mode 0700:
//   ca.crt ca.key            only where hosts are issued is ca.key needed
//   NAME.crt NAME.key        of one host, good for connecting and for accepting
// Sources: RFC 5280; X509_sign(3), X509V3_EXT_conf_nid(3).
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::net {

inline constexpr const char* kPkiDirectory = "/etc/ferry/pki";

enum class Overwrite { No, Yes };

// Makes the directory where it is missing and a new CA in it. Invalid if one is there, unless
// Overwrite. Certificates of an overwritten CA are worth nothing from then on.
Result<> init_pki(const std::string& directory, Overwrite overwrite);

struct HostCertificate {
    std::string name;               // becomes the common name and a subjectAltName
    std::vector<std::string> also;  // more names or IP addresses by which peers reach the host
};
// Signs a new key for a host with the CA of the directory. Invalid if there is no CA, the name
// cannot be one, or the host has a certificate already, unless Overwrite.
Result<> issue_certificate(const std::string& directory, const HostCertificate& host,
                           Overwrite overwrite);

}  // namespace ferry::net
