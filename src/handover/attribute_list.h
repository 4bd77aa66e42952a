// Netlink attributes that are kept: built one after another, and changed in place.
#pragma once

#include <linux/netlink.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ferry::handover {

class AttributeList {
  public:
    void put(std::uint16_t type, std::span<const std::byte> value) {
        const nlattr header = {.nla_len = static_cast<std::uint16_t>(sizeof(nlattr) + value.size()),
                               .nla_type = type};
        append(std::as_bytes(std::span(&header, 1)));
        append(value);
    }
    template <class T>
    void put_number(std::uint16_t type, T value) {
        put(type, std::as_bytes(std::span(&value, 1)));
    }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
    [[nodiscard]] std::vector<std::byte> take() && { return std::move(bytes_); }

  private:
    void append(std::span<const std::byte> data) {
        bytes_.insert(bytes_.end(), data.begin(), data.end());
        bytes_.resize((bytes_.size() + NLA_ALIGNTO - 1) / NLA_ALIGNTO * NLA_ALIGNTO);
    }
    std::vector<std::byte> bytes_;
};

// `part` is a view into `whole`.
[[nodiscard]] inline std::span<std::byte> writable(std::vector<std::byte>& whole,
                                                   std::span<const std::byte> part) {
    return std::span(whole).subspan(static_cast<std::size_t>(part.data() - whole.data()),
                                    part.size());
}

}  // namespace ferry::handover
