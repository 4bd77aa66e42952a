// Building and taking apart byte layouts of the wire. Little-endian, unaligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/error.h"

namespace ferry {

using Bytes = std::vector<std::byte>;

inline void append(Bytes& into, const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    into.insert(into.end(), bytes, bytes + size);
}

// Takes fixed-size values and byte ranges off the front; every access is checked.
class Cursor {
  public:
    explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <class T>
    Result<T> take() {
        const std::span<const std::byte> raw = TRY(take_bytes(sizeof(T)));
        T value{};
        std::memcpy(&value, raw.data(), sizeof(T));
        return value;
    }
    Result<std::span<const std::byte>> take_bytes(std::uint64_t size) {
        if (size > bytes_.size()) return fail(Error::corrupt("the frame ends too early"));
        const std::span<const std::byte> taken = bytes_.first(size);
        bytes_ = bytes_.subspan(size);
        return taken;
    }
    [[nodiscard]] bool at_end() const { return bytes_.empty(); }

  private:
    std::span<const std::byte> bytes_;
};

}  // namespace ferry
