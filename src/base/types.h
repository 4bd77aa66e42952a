// Numbers that must not mix are types: task ids, and addresses in somebody else's address space.
#pragma once

#include <fmt/format.h>
#include <sys/types.h>

#include <compare>
#include <cstdint>

namespace ferry {

inline constexpr std::uint64_t kPageSize = 4096;
[[nodiscard]] constexpr std::uint64_t page_align_down(std::uint64_t v) {
    return v & ~(kPageSize - 1);
}
[[nodiscard]] constexpr std::uint64_t page_align_up(std::uint64_t v) {
    return page_align_down(v + kPageSize - 1);
}

// A process (thread group) id as seen in Ferry's own pid namespace.
struct Pid {
    pid_t value = 0;
    auto operator<=>(const Pid&) const = default;
};

// A thread id as seen in Ferry's own pid namespace. The leader's tid equals the pid.
struct Tid {
    pid_t value = 0;
    auto operator<=>(const Tid&) const = default;
};

[[nodiscard]] constexpr Tid leader_of(Pid pid) {
    return Tid{pid.value};
}

// An address in the address space of a traced, dumped or restored task; never dereferenced here.
struct RemoteAddr {
    std::uint64_t value = 0;
    auto operator<=>(const RemoteAddr&) const = default;
    [[nodiscard]] constexpr RemoteAddr operator+(std::uint64_t n) const { return {value + n}; }
    [[nodiscard]] constexpr RemoteAddr operator-(std::uint64_t n) const { return {value - n}; }
    [[nodiscard]] constexpr std::uint64_t operator-(RemoteAddr o) const { return value - o.value; }
};

// [start, end) in a remote address space. Page-aligned unless said otherwise.
struct AddrRange {
    RemoteAddr start;
    RemoteAddr end;
    auto operator<=>(const AddrRange&) const = default;
    [[nodiscard]] constexpr std::uint64_t size() const { return end - start; }
    [[nodiscard]] constexpr std::uint64_t pages() const { return size() / kPageSize; }
    [[nodiscard]] constexpr bool empty() const { return end <= start; }
    [[nodiscard]] constexpr bool contains(RemoteAddr a) const { return a >= start && a < end; }
    [[nodiscard]] constexpr bool overlaps(const AddrRange& o) const {
        return start < o.end && o.start < end;
    }
};

}  // namespace ferry

template <>
struct fmt::formatter<ferry::Pid> : fmt::formatter<int> {
    auto format(ferry::Pid v, format_context& c) const {
        return formatter<int>::format(v.value, c);
    }
};
template <>
struct fmt::formatter<ferry::Tid> : fmt::formatter<int> {
    auto format(ferry::Tid v, format_context& c) const {
        return formatter<int>::format(v.value, c);
    }
};
template <>
struct fmt::formatter<ferry::RemoteAddr> {
    constexpr auto parse(format_parse_context& c) const { return c.begin(); }
    auto format(ferry::RemoteAddr v, format_context& c) const {
        return fmt::format_to(c.out(), "{:#x}", v.value);
    }
};
template <>
struct fmt::formatter<ferry::AddrRange> {
    constexpr auto parse(format_parse_context& c) const { return c.begin(); }
    auto format(const ferry::AddrRange& v, format_context& c) const {
        return fmt::format_to(c.out(), "{:x}-{:x}", v.start.value, v.end.value);
    }
};
