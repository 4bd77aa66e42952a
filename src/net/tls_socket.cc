#include "net/tls_socket.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/check.h"
#include "os/inet.h"

namespace ferry::net {
namespace {

// Large enough that the system call disappears beside the cipher, small enough for the L2 cache.
constexpr std::size_t kReadAheadBytes = 256u << 10;

}  // namespace

TlsSocket::TlsSocket(os::UniqueFd socket) : socket_(std::move(socket)), in_(kReadAheadBytes) {}

BIO_METHOD* TlsSocket::method() {
    static const std::unique_ptr<BIO_METHOD, void (*)(BIO_METHOD*)> method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ferry socket");
        CHECK(made != nullptr);
        BIO_meth_set_read(made, &TlsSocket::bio_read);
        BIO_meth_set_write(made, &TlsSocket::bio_write);
        BIO_meth_set_ctrl(made, &TlsSocket::bio_control);
        return std::unique_ptr<BIO_METHOD, void (*)(BIO_METHOD*)>(made, BIO_meth_free);
    }();
    return method.get();
}

BIO* TlsSocket::make_bio() {
    BIO* bio = BIO_new(method());
    CHECK(bio != nullptr);
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    return bio;
}

Result<bool> TlsSocket::flush_some() {
    while (unsent() > 0) {
        const auto moved = TRY(os::send_some(fd(), std::span(out_).subspan(out_sent_)));
        if (moved.would_block) return false;
        out_sent_ += moved.bytes;
        bytes_sent += moved.bytes;
    }
    out_.clear();
    out_sent_ = 0;
    return true;
}

std::optional<Error> TlsSocket::take_failure() {
    return std::exchange(failure_, std::nullopt);
}

int TlsSocket::read(std::span<std::byte> into, bool& retry) {
    if (unread() == 0) {
        auto moved = os::receive_some(fd(), in_);
        if (!moved) {
            failure_ = std::move(moved.error());
            return -1;
        }
        if (moved->would_block) {
            retry = true;
            return -1;
        }
        in_begin_ = 0;
        in_end_ = moved->bytes;
        bytes_received += moved->bytes;
    }
    const std::size_t n = std::min(into.size(), unread());
    std::memcpy(into.data(), in_.data() + in_begin_, n);
    in_begin_ += n;
    return static_cast<int>(n);
}

int TlsSocket::bio_read(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    if (size <= 0) return 0;
    bool retry = false;
    auto* self = static_cast<TlsSocket*>(BIO_get_data(bio));
    const int n =
        self->read(std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size))), retry);
    if (retry) BIO_set_retry_read(bio);
    // An end of file is told apart from an error by this flag (BIO_eof in ssl3_read_n).
    if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return n;
}

int TlsSocket::bio_write(BIO* bio, const char* data, int size) {
    BIO_clear_retry_flags(bio);
    if (size <= 0) return 0;
    auto* self = static_cast<TlsSocket*>(BIO_get_data(bio));
    const auto bytes = std::as_bytes(std::span(data, static_cast<std::size_t>(size)));
    self->out_.insert(self->out_.end(), bytes.begin(), bytes.end());
    return size;
}

long TlsSocket::bio_control(BIO* bio, int command, long, void*) {
    switch (command) {
        case BIO_CTRL_EOF:
            return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
        case BIO_CTRL_FLUSH:  // The channel flushes by itself, where it can wait.
        case BIO_CTRL_DUP:
            return 1;
        default:
            return 0;
    }
}

}  // namespace ferry::net
