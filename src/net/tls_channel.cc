#include "net/tls_channel.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/cleanup.h"
#include "net/tls_context.h"
#include "net/tls_error.h"
#include "net/tls_socket.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::net {
namespace {

// The payload of one TLS record at most (RFC 8446, 5.1).
constexpr std::size_t kRecordBytes = 16384;
// Ciphertext that is gathered before it is given to the socket.
constexpr std::size_t kFlushBytes = 256u << 10;
// What the accepting side says first. In TLS 1.3 the connecting side finishes its handshake before
// the other has looked at its certificate; only this line tells that it was accepted.
constexpr std::string_view kGreeting = "FERRY 1\n";

using SslOwner = std::unique_ptr<SSL, void (*)(SSL*)>;

bool is_address(const std::string& host) {
    std::array<unsigned char, 16> ignored = {};
    return ::inet_pton(AF_INET, host.c_str(), ignored.data()) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), ignored.data()) == 1;
}

Result<> expect_name(SSL* ssl, const std::string& name) {
    SSL_set_hostflags(ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    const bool set = is_address(name)
                         ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1
                         : SSL_set1_host(ssl, name.c_str()) == 1;
    if (!set) return fail(Error::invalid(fmt::format("'{}' cannot be a host's name", name)));
    return {};
}

}  // namespace

struct TlsChannel::State {
    State(os::UniqueFd fd, SslOwner owner, std::string name)
        : socket(std::move(fd)), ssl(std::move(owner)), peer(std::move(name)) {
        BIO* const bio = socket.make_bio();
        SSL_set_bio(ssl.get(), bio, bio);
        record.reserve(kRecordBytes);
    }

    Result<> wait(short events, Deadline deadline);
    Result<> flush(Deadline deadline);
    Result<> handshake(const std::string& expected, Deadline deadline);
    Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);
    Result<> read_greeting(std::span<std::byte> rest, const std::string& expected,
                           Deadline deadline);
    Result<> encrypt(std::span<const std::byte> data);
    Result<> encrypt_record();
    [[nodiscard]] Deadline idle() const { return Deadline::after(idle_timeout); }

    TlsSocket socket;  // Before ssl: the BIO inside ssl points to it.
    SslOwner ssl;
    std::string peer;  // for messages
    std::string peer_name;
    std::vector<std::byte> record;  // small parts on their way into a common record
    std::chrono::milliseconds idle_timeout{30000};
    int interrupt = -1;
    std::chrono::nanoseconds spent_sending{0}, waited_to_send{0};
};

Result<> TlsChannel::State::wait(short events, Deadline deadline) {
    std::array<pollfd, 2> fds = {pollfd{.fd = socket.fd(), .events = events, .revents = 0},
                                 pollfd{.fd = interrupt, .events = POLLIN, .revents = 0}};
    TRY(os::poll(fds, deadline.poll_timeout()));
    if (fds[1].revents != 0) return fail(Error::aborted("interrupted"));
    if (fds[0].revents == 0 && deadline.passed()) {
        return fail(Error::system(ETIMEDOUT, fmt::format("{}: no answer", peer)));
    }
    return {};
}

Result<> TlsChannel::State::flush(Deadline deadline) {
    for (;;) {
        const bool done = TRY(with_context(socket.flush_some(), peer));
        if (done) return {};
        const auto begun = std::chrono::steady_clock::now();
        TRY(wait(POLLOUT, deadline));
        waited_to_send += std::chrono::steady_clock::now() - begun;
    }
}

Result<> TlsChannel::State::handshake(const std::string& expected, Deadline deadline) {
    for (;;) {
        ERR_clear_error();
        const int result = SSL_do_handshake(ssl.get());
        const int reason = SSL_get_error(ssl.get(), result);
        // An alert that says why may be waiting to be sent: send it before giving up.
        auto flushed = flush(deadline);
        if (result == 1) {
            TRY(std::move(flushed));
            break;
        }
        if (reason != SSL_ERROR_WANT_READ) {
            if (auto failure = socket.take_failure()) {
                return fail(std::move(*failure).context(peer + ": in the handshake"));
            }
            return fail(handshake_error(ssl.get(), peer, expected));
        }
        TRY(std::move(flushed));
        TRY(wait(POLLIN, deadline));
    }
    X509* const certificate = SSL_get0_peer_certificate(ssl.get());
    CHECK(certificate != nullptr);
    std::array<char, 256> name = {};
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(),
                              static_cast<int>(name.size()));
    peer_name = name.data();
    return {};
}

Result<std::size_t> TlsChannel::State::read(std::span<std::byte> into, Deadline deadline) {
    CHECK(!into.empty());
    for (;;) {
        ERR_clear_error();
        std::size_t n = 0;
        const int result = SSL_read_ex(ssl.get(), into.data(), into.size(), &n);
        if (result == 1) return n;
        const int reason = SSL_get_error(ssl.get(), result);
        if (reason == SSL_ERROR_ZERO_RETURN) return 0;
        if (reason != SSL_ERROR_WANT_READ) {
            if (auto failure = socket.take_failure())
                return fail(std::move(*failure).context(peer));
            return fail(stream_error(peer));
        }
        // Reading may have produced an answer (a key update).
        if (socket.unsent() > 0) TRY(flush(deadline));
        TRY(wait(POLLIN, deadline));
    }
}

Result<> TlsChannel::State::encrypt(std::span<const std::byte> data) {
    while (!data.empty()) {
        const auto now = data.first(std::min(data.size(), kFlushBytes / 2));
        ERR_clear_error();
        std::size_t n = 0;
        if (SSL_write_ex(ssl.get(), now.data(), now.size(), &n) != 1)
            return fail(stream_error(peer));
        data = data.subspan(n);
        if (socket.unsent() >= kFlushBytes) TRY(flush(idle()));
    }
    return {};
}

Result<> TlsChannel::State::encrypt_record() {
    TRY(encrypt(record));
    record.clear();
    return {};
}

TlsChannel::TlsChannel(std::unique_ptr<State> state) : state_(std::move(state)) {}
TlsChannel::TlsChannel(TlsChannel&&) noexcept = default;
TlsChannel& TlsChannel::operator=(TlsChannel&&) noexcept = default;
TlsChannel::~TlsChannel() = default;

namespace {

Result<SslOwner> new_ssl(const TlsContext& context, const std::string& expected_peer) {
    SslOwner ssl(SSL_new(context.state().context.get()), SSL_free);
    CHECK(ssl != nullptr);
    if (!expected_peer.empty()) TRY(expect_name(ssl.get(), expected_peer));
    return ssl;
}

// With probes of a silent connection that limit also ends a wait for the peer, to whom nothing is
// on its way (tcp(7), Linux 4.19).
Result<> limit_silence(int socket, std::chrono::milliseconds limit) {
    return os::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limit.count()));
}

Result<> tune(int socket) {
    // Frames are complete when they are handed over; waiting for more (Nagle) only delays them.
    TRY(os::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, 1));
    TRY(os::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, 1));
    TRY(os::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, 1));
    TRY(os::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, 1));
    // BBR (Linux 4.9) leaves the queues of the link short: what the service's clients are sent, and
    // the last pages of a freeze, do not wait behind ours. Where it is missing the default will do.
    std::ignore =
        os::setsockopt_bytes(socket, IPPROTO_TCP, TCP_CONGESTION, os::as_bytes(std::string("bbr")));
    return limit_silence(socket, TlsChannel::kSilenceLimit);
}

Result<os::UniqueFd> connect_to(const os::SocketAddress& address, const std::string& peer,
                                Deadline deadline, int interrupt) {
    os::UniqueFd socket =
        TRY(os::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP));
    TRY(tune(socket.get()));
    TRY(with_context(os::connect(socket.get(), address), peer));
    for (;;) {
        std::array<pollfd, 2> fds = {pollfd{.fd = socket.get(), .events = POLLOUT, .revents = 0},
                                     pollfd{.fd = interrupt, .events = POLLIN, .revents = 0}};
        TRY(os::poll(fds, deadline.poll_timeout()));
        if (fds[1].revents != 0) return fail(Error::aborted("interrupted"));
        if (fds[0].revents != 0) break;
        if (deadline.passed()) return fail(Error::system(ETIMEDOUT, peer + ": no answer"));
    }
    const int code = TRY(os::getsockopt<int>(socket.get(), SOL_SOCKET, SO_ERROR));
    if (code == ECONNREFUSED) return fail(Error::system(code, peer + ": nobody listens there"));
    if (code != 0) return fail(Error::system(code, peer + ": cannot connect"));
    return socket;
}

Result<os::UniqueFd> connect_any(const Endpoint& to, Deadline deadline, int interrupt) {
    const std::string peer = to.to_string();
    Result<os::UniqueFd> socket = fail(Error::invalid(peer + ": no address"));
    for (const os::SocketAddress& address : TRY(os::resolve(to.host, to.port))) {
        socket = connect_to(address, peer, deadline, interrupt);
        if (socket || deadline.passed()) break;
    }
    return socket;
}

}  // namespace

// Reads what the accepting side sends first; before that the peer has not judged our certificate.
Result<> TlsChannel::State::read_greeting(std::span<std::byte> rest, const std::string& expected,
                                          Deadline deadline) {
    while (!rest.empty()) {
        ERR_clear_error();
        std::size_t n = 0;
        const int result = SSL_read_ex(ssl.get(), rest.data(), rest.size(), &n);
        rest = rest.subspan(n);
        if (result == 1) continue;
        if (SSL_get_error(ssl.get(), result) != SSL_ERROR_WANT_READ) {
            if (auto failure = socket.take_failure()) {
                return fail(std::move(*failure).context(peer + ": in the handshake"));
            }
            // Some (gRPC) say no more than that.
            if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
                return fail(Error::peer(fmt::format(
                    "{}: it refuses our certificate (and closes the connection)", peer)));
            }
            return fail(handshake_error(ssl.get(), peer, expected));
        }
        TRY(wait(POLLIN, deadline));
    }
    return {};
}

Result<TlsChannel> TlsChannel::connect(const TlsContext& context, const Endpoint& to,
                                       const std::string& expected_peer, Deadline deadline,
                                       int interrupt) {
    const std::string peer = to.to_string();
    os::UniqueFd socket = TRY(connect_any(to, deadline, interrupt));
    SslOwner ssl = TRY(new_ssl(context, expected_peer));
    SSL_set_connect_state(ssl.get());
    auto state = std::make_unique<State>(std::move(socket), std::move(ssl), peer);
    state->interrupt = interrupt;
    TRY(state->handshake(expected_peer, deadline));
    std::array<char, kGreeting.size()> greeting = {};
    TRY(state->read_greeting(std::as_writable_bytes(std::span(greeting)), expected_peer, deadline));
    if (std::string_view(greeting.data(), greeting.size()) != kGreeting) {
        return fail(Error::peer(peer + ": it speaks another version of the data protocol"));
    }
    return TlsChannel(std::move(state));
}

Result<std::string> probe_control_port(const TlsContext& context, const Endpoint& to,
                                       const std::string& expected_peer, Deadline deadline) {
    os::UniqueFd socket = TRY(connect_any(to, deadline, -1));
    SslOwner ssl = TRY(new_ssl(context, expected_peer));
    SSL_set_connect_state(ssl.get());
    // RFC 7301: a length byte before each name.
    constexpr std::array<unsigned char, 3> kHttp2 = {2, 'h', '2'};
    CHECK(SSL_set_alpn_protos(ssl.get(), kHttp2.data(), kHttp2.size()) == 0);
    TlsChannel::State state(std::move(socket), std::move(ssl), to.to_string());
    TRY(state.handshake(expected_peer, deadline));
    // An HTTP/2 server speaks first: its SETTINGS frame (RFC 9113, 3.4).
    std::byte first{};
    TRY(state.read_greeting(std::span(&first, 1), expected_peer, deadline));
    return state.peer_name;
}

Result<TlsChannel> TlsChannel::accept(const TlsContext& context, os::UniqueFd socket,
                                      const std::string& expected_peer, Deadline deadline,
                                      int interrupt) {
    TRY(tune(socket.get()));
    SslOwner ssl = TRY(new_ssl(context, expected_peer));
    SSL_set_accept_state(ssl.get());
    auto state = std::make_unique<State>(std::move(socket), std::move(ssl), "the connecting peer");
    state->interrupt = interrupt;
    TRY(state->handshake(expected_peer, deadline));
    TRY(state->encrypt(os::as_bytes(kGreeting)));
    TRY(state->flush(deadline));
    return TlsChannel(std::move(state));
}

void TlsChannel::set_idle_timeout(std::chrono::milliseconds timeout) {
    state_->idle_timeout = timeout;
}
Result<> TlsChannel::set_silence_limit(std::chrono::milliseconds limit) {
    return limit_silence(state_->socket.fd(), limit);
}
void TlsChannel::interrupt_on(int fd) {
    state_->interrupt = fd;
}

Result<> TlsChannel::write_all(std::span<const iovec> parts) {
    State& state = *state_;
    const auto begun = std::chrono::steady_clock::now();
    const Cleanup add_up = [&] { state.spent_sending += std::chrono::steady_clock::now() - begun; };
    for (const iovec& part : parts) {
        std::span<const std::byte> data(static_cast<const std::byte*>(part.iov_base), part.iov_len);
        while (!data.empty()) {
            if (state.record.empty() && data.size() >= kRecordBytes) {
                const auto whole = data.first(data.size() / kRecordBytes * kRecordBytes);
                TRY(state.encrypt(whole));
                data = data.subspan(whole.size());
                continue;
            }
            const auto now = data.first(std::min(data.size(), kRecordBytes - state.record.size()));
            state.record.insert(state.record.end(), now.begin(), now.end());
            data = data.subspan(now.size());
            if (state.record.size() == kRecordBytes) TRY(state.encrypt_record());
        }
    }
    TRY(state.encrypt_record());
    return state.flush(state.idle());
}

Result<> TlsChannel::write_all(std::span<const std::byte> data) {
    const iovec part = {.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
    return write_all(std::span(&part, 1));
}

Result<std::size_t> TlsChannel::read_some(std::span<std::byte> into) {
    return state_->read(into, state_->idle());
}

Result<> TlsChannel::read_all(std::span<std::byte> into) {
    while (!into.empty()) {
        const std::size_t n = TRY(read_some(into));
        if (n == 0) return fail(Error::gone(fmt::format("{}: the stream ended", state_->peer)));
        into = into.subspan(n);
    }
    return {};
}

Result<> TlsChannel::shutdown() {
    ERR_clear_error();
    if (SSL_shutdown(state_->ssl.get()) < 0) return fail(stream_error(state_->peer));
    return state_->flush(state_->idle());
}

int TlsChannel::fd() const {
    return state_->socket.fd();
}

bool TlsChannel::has_buffered() const {
    return SSL_pending(state_->ssl.get()) > 0 || state_->socket.unread() > 0;
}

Result<bool> TlsChannel::wait_readable(Deadline deadline) {
    for (;;) {
        ERR_clear_error();
        std::byte first{};
        std::size_t n = 0;
        const int result = SSL_peek_ex(state_->ssl.get(), &first, 1, &n);
        if (result == 1) return true;
        const int reason = SSL_get_error(state_->ssl.get(), result);
        if (reason == SSL_ERROR_ZERO_RETURN) return true;
        if (reason != SSL_ERROR_WANT_READ) {
            if (auto failure = state_->socket.take_failure()) {
                return fail(std::move(*failure).context(state_->peer));
            }
            return fail(stream_error(state_->peer));
        }
        auto waited = state_->wait(POLLIN, deadline);
        if (!waited && waited.error().code() == ETIMEDOUT) return false;
        TRY(std::move(waited));
    }
}

const std::string& TlsChannel::peer_name() const {
    return state_->peer_name;
}
std::uint64_t TlsChannel::bytes_sent() const {
    return state_->socket.bytes_sent;
}
std::chrono::nanoseconds TlsChannel::spent_sending() const {
    return state_->spent_sending;
}
std::chrono::nanoseconds TlsChannel::waited_to_send() const {
    return state_->waited_to_send;
}
std::uint64_t TlsChannel::bytes_received() const {
    return state_->socket.bytes_received;
}

}  // namespace ferry::net
