#include "migrate/link.h"

#include <fmt/format.h>

#include <cerrno>

#include "os/fd.h"

namespace ferry::migrate {
namespace {

// Gone is kept for processes of the tree, which may vanish without harm; a vanished peer does harm.
Result<> name_lost_peer(Result<> result) {
    if (result) return result;
    const int code = result.error().code();
    const bool silent = code == ETIMEDOUT || code == EHOSTUNREACH || code == ENETUNREACH;
    if (!silent && result.error().kind() != Error::Kind::Gone) return result;
    return fail(
        Error::peer("the connection to the other host is lost: " + result.error().message()));
}

}  // namespace

Result<> Link::send(FrameType type, std::span<const std::byte> payload) {
    const iovec part = {.iov_base = const_cast<std::byte*>(payload.data()),
                        .iov_len = payload.size()};
    return send_parts(type, std::span(&part, 1));
}

Result<> Link::send(FrameType type, std::string_view payload) {
    return send(type, os::as_bytes(payload));
}

Result<> Link::send_parts(FrameType type, std::span<const iovec> parts) {
    FrameHeader header = {.type = static_cast<std::uint32_t>(type)};
    std::vector<iovec> all;
    all.reserve(parts.size() + 1);
    all.push_back({.iov_base = &header, .iov_len = sizeof(header)});
    for (const iovec& part : parts) {
        if (part.iov_len == 0) continue;
        header.length += part.iov_len;
        all.push_back(part);
    }
    return with_context(name_lost_peer(channel_.write_all(all)),
                        fmt::format("sending {}", name_of(type)));
}

Result<Frame> Link::receive() {
    FrameHeader header;
    TRY(with_context(
        name_lost_peer(channel_.read_all(std::as_writable_bytes(std::span(&header, 1)))),
        "waiting for the peer"));
    const FrameType type = TRY(check(header));
    if (buffer_.size() < header.length) buffer_.resize(header.length);
    const std::span<std::byte> payload = std::span(buffer_).first(header.length);
    TRY(with_context(name_lost_peer(channel_.read_all(payload)),
                     fmt::format("receiving {}", name_of(type))));
    if (type == FrameType::Failed) {
        peer_failed_ = true;
        constexpr std::size_t kFailureTextMax = 4096;
        const auto* text = reinterpret_cast<const char*>(payload.data());
        return fail(Error::peer(std::string(text, std::min(payload.size(), kFailureTextMax))));
    }
    return Frame{.type = type, .payload = payload};
}

Result<Frame> Link::expect(FrameType type) {
    Frame frame = TRY(receive());
    if (frame.type != type) {
        return fail(Error::corrupt(
            fmt::format("the peer sent {} where {} was due", name_of(frame.type), name_of(type))));
    }
    return frame;
}

Result<bool> Link::wait(std::chrono::milliseconds timeout) {
    return channel_.wait_readable(net::Deadline::after(timeout));
}

void Link::send_failure(const Error& error) {
    channel_.interrupt_on(-1);
    channel_.set_idle_timeout(std::chrono::seconds(2));
    // The peer notices the end of the connection anyway.
    static_cast<void>(send(FrameType::Failed, error.message()));
}

}  // namespace ferry::migrate
