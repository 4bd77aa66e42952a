// A non-blocking socket as OpenSSL sees it: a BIO that never waits, with ciphertext gathered on the
// way out and read ahead on the way in, so that one system call carries many TLS records.
// OpenSSL's own read-ahead moves its whole buffer once per record (ssl3_read_n), which costs more
// than the copy made here.
#pragma once

#include <openssl/bio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::net {

// Not movable: the BIO points to it.
class TlsSocket {
  public:
    explicit TlsSocket(os::UniqueFd socket);
    TlsSocket(const TlsSocket&) = delete;
    TlsSocket& operator=(const TlsSocket&) = delete;

    // A new BIO over this socket, to be given to SSL_set_bio, which owns it. Must not outlive this.
    BIO* make_bio();

    [[nodiscard]] int fd() const { return socket_.get(); }
    [[nodiscard]] std::size_t unsent() const { return out_.size() - out_sent_; }
    [[nodiscard]] std::size_t unread() const { return in_end_ - in_begin_; }
    // Sends what the socket takes now; true once nothing is left.
    Result<bool> flush_some();
    // The failure of the socket that made the last BIO read fail, if one did.
    [[nodiscard]] std::optional<Error> take_failure();

    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;

  private:
    static BIO_METHOD* method();
    static int bio_read(BIO* bio, char* into, int size);
    static int bio_write(BIO* bio, const char* data, int size);
    static long bio_control(BIO* bio, int command, long argument, void* pointer);
    int read(std::span<std::byte> into, bool& retry);

    os::UniqueFd socket_;
    std::vector<std::byte> out_;
    std::size_t out_sent_ = 0;
    std::vector<std::byte> in_;
    std::size_t in_begin_ = 0;
    std::size_t in_end_ = 0;
    std::optional<Error> failure_;
};

}  // namespace ferry::net
