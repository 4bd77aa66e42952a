// The stream between the two halves of a session: frames (migrate/wire.h) over one TLS connection.
// Single-threaded. While a call waits, the session's control descriptor is watched too (Aborted).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "migrate/wire.h"
#include "net/tls_channel.h"

namespace ferry::migrate {

// Payload is valid until the next receive().
struct Frame {
    FrameType type = FrameType::Failed;
    std::span<const std::byte> payload;
};

class Link {
  public:
    explicit Link(net::TlsChannel channel) : channel_(std::move(channel)) {}

    Result<> send(FrameType type, std::span<const std::byte> payload);
    Result<> send(FrameType type, std::string_view payload);
    // One frame whose payload is the parts one after the other; nothing is copied before
    // encryption.
    Result<> send_parts(FrameType type, std::span<const iovec> parts);
    // A Failed frame is returned as Error::Kind::Peer with its text, the end of the connection as
    // Peer too: Gone always means a process of the tree.
    Result<Frame> receive();
    // Anything but the expected type is Corrupt.
    Result<Frame> expect(FrameType type);
    // Waits for a frame at most this long: false if none has begun to arrive.
    Result<bool> wait(std::chrono::milliseconds timeout);
    // The peer has sent Failed: it has rolled back and holds nothing any more.
    [[nodiscard]] bool peer_failed() const { return peer_failed_; }
    // Tells the peer why we gave up; best effort.
    void send_failure(const Error& error);

    [[nodiscard]] net::TlsChannel& channel() { return channel_; }
    [[nodiscard]] std::uint64_t wire_bytes() const {
        return channel_.bytes_sent() + channel_.bytes_received();
    }

  private:
    net::TlsChannel channel_;
    std::vector<std::byte> buffer_;
    bool peer_failed_ = false;
};

}  // namespace ferry::migrate
