#include "net/pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/check.h"
#include "base/cleanup.h"
#include "net/endpoint.h"
#include "net/tls_error.h"
#include "os/fd.h"

namespace ferry::net {
namespace {

constexpr long kDay = 24L * 60 * 60;
constexpr long kAuthorityDays = 3650;
// The longest that common verifiers accept for a host.
constexpr long kHostDays = 825;
// Hosts' clocks differ a little; a certificate must be valid on all of them at once.
constexpr long kClockSkewSeconds = 3600;

template <auto Free>
struct Freer {
    template <class T>
    void operator()(T* p) const {
        Free(p);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using MemoryBio = std::unique_ptr<BIO, Freer<BIO_free_all>>;

std::unexpected<Error> openssl_failure(const std::string& what) {
    return fail(Error::invalid(fmt::format("{}: {}", what, take_openssl_reason())));
}

Result<Key> new_key() {
    Key key(EVP_EC_gen("P-256"));
    if (key == nullptr) return openssl_failure("making a key");
    return key;
}

bool is_address(const std::string& name) {
    std::array<unsigned char, 16> ignored = {};
    return ::inet_pton(AF_INET, name.c_str(), ignored.data()) == 1 ||
           ::inet_pton(AF_INET6, name.c_str(), ignored.data()) == 1;
}

// Endpoint::parse knows which characters a host may have; none of them is special in a file name or
// in OpenSSL's extension syntax.
Result<> check_name(const std::string& name) {
    const std::string bracketed = is_address(name) ? "[" + name + "]" : name;
    const auto parsed = Endpoint::parse(bracketed, 0);
    if (!parsed || parsed->host != name || name.starts_with('.') || name == "ca") {
        return fail(Error::invalid(fmt::format("'{}' cannot be the name of a host", name)));
    }
    return {};
}

struct Extension {
    int nid;
    std::string value;
};

Result<> add_extensions(X509* certificate, X509* issuer, const std::vector<Extension>& extensions) {
    X509V3_CTX context = {};
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    for (const Extension& wanted : extensions) {
        const std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>> made(
            X509V3_EXT_conf_nid(nullptr, &context, wanted.nid, wanted.value.c_str()));
        if (made == nullptr || X509_add_ext(certificate, made.get(), -1) != 1) {
            return openssl_failure("certificate extension " + wanted.value);
        }
    }
    return {};
}

// A certificate without extensions and signature. A null issuer is the certificate itself.
Result<Certificate> new_certificate(const std::string& common_name, EVP_PKEY* key, X509* issuer,
                                    long days) {
    Certificate made(X509_new());
    CHECK(made != nullptr);
    X509* const raw = made.get();
    CHECK(X509_set_version(raw, X509_VERSION_3) == 1);
    // RFC 5280, 4.1.2.2: unique, positive, at most 20 octets.
    std::array<unsigned char, 16> serial = {};
    if (RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) {
        return openssl_failure("random serial");
    }
    serial[0] &= 0x7f;
    const std::unique_ptr<BIGNUM, Freer<BN_free>> number(
        BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr));
    CHECK(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(raw)) != nullptr);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(raw), -kClockSkewSeconds) != nullptr);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(raw), days * kDay) != nullptr);
    if (X509_NAME_add_entry_by_txt(X509_get_subject_name(raw), "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(common_name.c_str()), -1,
                                   -1, 0) != 1) {
        return openssl_failure("name " + common_name);
    }
    X509* const signer = issuer != nullptr ? issuer : raw;
    CHECK(X509_set_issuer_name(raw, X509_get_subject_name(signer)) == 1);
    CHECK(X509_set_pubkey(raw, key) == 1);
    return made;
}

Result<> sign(X509* certificate, EVP_PKEY* key) {
    if (X509_sign(certificate, key, EVP_sha256()) == 0) return openssl_failure("signing");
    return {};
}

std::string_view content_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

// One pair of files; none of the two is left behind when something fails.
Result<> write_pair(const std::string& stem, EVP_PKEY* key, X509* certificate,
                    Overwrite overwrite) {
    const std::string key_path = stem + ".key";
    const std::string certificate_path = stem + ".crt";
    for (const std::string& path : {key_path, certificate_path}) {
        const auto present = os::fstatat(os::kCwd, path);
        if (present && overwrite == Overwrite::No) {
            return fail(Error::invalid(path + " exists; --force replaces it"));
        }
        if (present) TRY(os::unlinkat(os::kCwd, path));
    }
    const MemoryBio key_text(BIO_new(BIO_s_mem()));
    const MemoryBio certificate_text(BIO_new(BIO_s_mem()));
    CHECK(PEM_write_bio_PrivateKey(key_text.get(), key, nullptr, nullptr, 0, nullptr, nullptr) ==
          1);
    CHECK(PEM_write_bio_X509(certificate_text.get(), certificate) == 1);
    Cleanup remove_both = [&] {
        std::ignore = os::unlinkat(os::kCwd, key_path);
        std::ignore = os::unlinkat(os::kCwd, certificate_path);
    };
    const auto write = [](const std::string& path, std::string_view text) -> Result<> {
        os::UniqueFd file = TRY(os::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
        TRY(with_context(os::write_all(file.get(), os::as_bytes(text)), path));
        return std::move(file).close();
    };
    TRY(write(key_path, content_of(key_text.get())));
    TRY(write(certificate_path, content_of(certificate_text.get())));
    remove_both.dismiss();
    return {};
}

// mkdir -p with mode 0700 for what is new.
Result<> make_directory(const std::string& path) {
    for (auto slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        const std::string part = path.substr(0, slash);
        auto made = os::mkdirat(os::kCwd, part, 0700);
        if (!made && made.error().code() != EEXIST) return made;
        if (slash == std::string::npos) return {};
    }
}

struct Authority {
    Key key;
    Certificate certificate;
};

Result<Authority> load_authority(const std::string& directory) {
    const auto certificate_text = os::read_file(directory + "/ca.crt");
    const auto key_text = os::read_file(directory + "/ca.key");
    for (const auto* text : {&certificate_text, &key_text}) {
        if (!*text) {
            return fail(Error::invalid(fmt::format("no CA in {} ({}); 'ferry pki init' makes one",
                                                   directory, text->error().message())));
        }
    }
    const auto bio_of = [](const std::string& text) {
        return MemoryBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    };
    Authority authority;
    authority.certificate.reset(
        PEM_read_bio_X509(bio_of(*certificate_text).get(), nullptr, nullptr, nullptr));
    if (authority.certificate == nullptr) return openssl_failure(directory + "/ca.crt");
    authority.key.reset(
        PEM_read_bio_PrivateKey(bio_of(*key_text).get(), nullptr, nullptr, nullptr));
    if (authority.key == nullptr) return openssl_failure(directory + "/ca.key");
    if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
        return openssl_failure(directory + "/ca.key");
    }
    return authority;
}

}  // namespace

Result<> init_pki(const std::string& directory, Overwrite overwrite) {
    ERR_clear_error();
    TRY(make_directory(directory));
    const Key key = TRY(new_key());
    // Two installations must not have CAs of one name, or OpenSSL would blame the signature.
    std::array<unsigned char, 4> tag = {};
    if (RAND_bytes(tag.data(), static_cast<int>(tag.size())) != 1)
        return openssl_failure("random name");
    const std::string name =
        fmt::format("Ferry CA {:02x}{:02x}{:02x}{:02x}", tag[0], tag[1], tag[2], tag[3]);
    const Certificate certificate = TRY(new_certificate(name, key.get(), nullptr, kAuthorityDays));
    TRY(add_extensions(certificate.get(), certificate.get(),
                       {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                        {NID_key_usage, "critical,keyCertSign,cRLSign"},
                        {NID_subject_key_identifier, "hash"}}));
    TRY(sign(certificate.get(), key.get()));
    return write_pair(directory + "/ca", key.get(), certificate.get(), overwrite);
}

Result<> issue_certificate(const std::string& directory, const HostCertificate& host,
                           Overwrite overwrite) {
    ERR_clear_error();
    std::string names;
    std::vector<std::string> all = {host.name};
    all.insert(all.end(), host.also.begin(), host.also.end());
    for (const std::string& name : all) {
        TRY(check_name(name));
        names +=
            fmt::format("{}{}:{}", names.empty() ? "" : ",", is_address(name) ? "IP" : "DNS", name);
    }
    const Authority authority = TRY(load_authority(directory));
    const Key key = TRY(new_key());
    X509* const issuer = authority.certificate.get();
    const Certificate certificate = TRY(new_certificate(host.name, key.get(), issuer, kHostDays));
    TRY(add_extensions(certificate.get(), issuer,
                       {{NID_basic_constraints, "critical,CA:FALSE"},
                        {NID_key_usage, "critical,digitalSignature"},
                        {NID_ext_key_usage, "serverAuth,clientAuth"},
                        {NID_subject_key_identifier, "hash"},
                        {NID_authority_key_identifier, "keyid"},
                        {NID_subject_alt_name, names}}));
    TRY(sign(certificate.get(), authority.key.get()));
    return write_pair(directory + "/" + host.name, key.get(), certificate.get(), overwrite);
}

}  // namespace ferry::net
