// Conversation with NETLINK_SOCK_DIAG (sock_diag(7)): one request, its answers split into messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::resources {

// Reads one T from the front of foreign bytes; false: too short.
template <class T>
[[nodiscard]] bool copy_front(std::span<const std::byte> bytes, T& into) {
    if (bytes.size() < sizeof(T)) return false;
    std::memcpy(&into, bytes.data(), sizeof(T));
    return true;
}

// Calls `take` for each (type, payload) in a run of netlink attributes; stops where it returns
// false.
void for_each_attribute(
    std::span<const std::byte> attributes,
    const std::function<bool(std::uint16_t type, std::span<const std::byte> payload)>& take);

class SockDiag {
  public:
    static Result<SockDiag> open();
    // `request` follows the netlink header. `take` gets each answer's payload. A dump goes on to
    // its end; a single question has one answer. Errors of the kernel are System errors.
    Result<> ask(std::span<const std::byte> request, bool dump,
                 const std::function<void(std::span<const std::byte>)>& take);

  private:
    explicit SockDiag(os::UniqueFd netlink) : netlink_(std::move(netlink)) {}
    os::UniqueFd netlink_;
};

}  // namespace ferry::resources
