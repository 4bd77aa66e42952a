// One TLS 1.3 connection between two agents, with certificates on both sides.
//
// The cipher is AES-256-GCM. Ciphertext is gathered into large socket writes and read in large
// socket reads, so that the rate is that of the cipher. Single-threaded; one thread owns a channel.
//
// Trouble has names. Error::Kind::Peer: the peer has no certificate, one of a foreign CA, one for
// another name, refuses ours, or speaks something else; Gone: it has closed; System with
// ECONNREFUSED or ETIMEDOUT: nobody listens, or nothing moved in time; Aborted: the interrupt
// descriptor has fired; Invalid: our own keys cannot be used.
//
// Sources: RFC 8446; SSL_CTX_set_verify(3), SSL_set1_host(3), BIO_meth_new(3).
#pragma once

#include <sys/uio.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "net/deadline.h"
#include "net/endpoint.h"
#include "os/fd.h"

namespace ferry::net {

// Where one host's keys lie: PEM files.
struct TlsIdentity {
    std::string ca;           // certificates that peers' certificates must descend from
    std::string certificate;  // our own
    std::string key;          // our own private key

    // ca.crt, NAME.crt and NAME.key in the directory that `ferry pki` fills.
    [[nodiscard]] static TlsIdentity in_directory(const std::string& directory,
                                                  const std::string& name);
};

// Loaded keys, used by any number of channels, which keep what they need of it alive. Move-only.
class TlsContext {
  public:
    // Invalid if a file is missing, unreadable, expired nonsense, or the key is not the
    // certificate's.
    static Result<TlsContext> load(const TlsIdentity& identity);
    TlsContext(TlsContext&&) noexcept;
    TlsContext& operator=(TlsContext&&) noexcept;
    ~TlsContext();

    struct State;
    [[nodiscard]] State& state() const { return *state_; }

  private:
    explicit TlsContext(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Whether `to` is an agent's control port that accepts our certificate and whose own is right; the
// same errors as TlsChannel::connect. gRPC's own words for these cases help nobody. Returns the
// common name of the peer's certificate.
Result<std::string> probe_control_port(const TlsContext& context, const Endpoint& to,
                                       const std::string& expected_peer, Deadline deadline);

class TlsChannel {
  public:
    // Connects, shakes hands and waits until the peer has accepted our certificate. `expected_peer`
    // is a host name or an IP address that the peer's certificate must carry as subjectAltName.
    // `interrupt` as in interrupt_on().
    static Result<TlsChannel> connect(const TlsContext& context, const Endpoint& to,
                                      const std::string& expected_peer, Deadline deadline,
                                      int interrupt = -1);
    // The other end, on a socket that Listener::accept gave. An empty `expected_peer` takes any
    // name that our CA has signed; ask peer_name().
    static Result<TlsChannel> accept(const TlsContext& context, os::UniqueFd socket,
                                     const std::string& expected_peer, Deadline deadline,
                                     int interrupt = -1);
    TlsChannel(TlsChannel&&) noexcept;
    TlsChannel& operator=(TlsChannel&&) noexcept;
    // Closes the socket without ceremony: the peer sees Gone.
    ~TlsChannel();

    // An operation that moves no byte for this long fails with ETIMEDOUT. Default: 30 s.
    void set_idle_timeout(std::chrono::milliseconds timeout);
    // The peer's kernel, not the peer, answers within this time whatever is sent to it, or the
    // connection is lost: a link that is cut is told from a peer that is busy. Default: 10 s.
    static constexpr std::chrono::milliseconds kSilenceLimit{10000};
    Result<> set_silence_limit(std::chrono::milliseconds limit);
    // While an operation waits, this descriptor is watched as well: once it is readable (or closed
    // at its other end) the operation fails with Aborted, and the channel is of no more use. -1:
    // none. Not owned.
    void interrupt_on(int fd);

    // All parts, in order, handed to the kernel when this returns. Small parts share records.
    Result<> write_all(std::span<const iovec> parts);
    Result<> write_all(std::span<const std::byte> data);
    // At least one byte; 0 only after the peer's clean shutdown().
    Result<std::size_t> read_some(std::span<std::byte> into);
    // All; the end of the stream before that is Gone.
    Result<> read_all(std::span<std::byte> into);
    // Tells the peer that nothing more will come. Reading goes on to work.
    Result<> shutdown();

    // For poll(2) by the owner. Ask has_buffered() first: bytes may already be here.
    [[nodiscard]] int fd() const;
    [[nodiscard]] bool has_buffered() const;
    // Waits until read_some() would find something (true), or the deadline has passed (false).
    Result<bool> wait_readable(Deadline deadline);
    // The common name of the peer's certificate.
    [[nodiscard]] const std::string& peer_name() const;
    // Bytes on the wire, with TLS's own.
    [[nodiscard]] std::uint64_t bytes_sent() const;
    [[nodiscard]] std::uint64_t bytes_received() const;
    // In write_all() so far, and of that for the kernel to take more.
    [[nodiscard]] std::chrono::nanoseconds spent_sending() const;
    [[nodiscard]] std::chrono::nanoseconds waited_to_send() const;

  private:
    struct State;
    friend Result<std::string> probe_control_port(const TlsContext& context, const Endpoint& to,
                                                  const std::string& expected_peer,
                                                  Deadline deadline);
    explicit TlsChannel(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace ferry::net
