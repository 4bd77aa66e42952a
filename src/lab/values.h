// The content of a stored value is a function of its key and version, so that every byte that comes
// back can be judged without keeping what was sent.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ferry::lab {

inline constexpr std::size_t kValueBytes = 1024;

[[nodiscard]] inline std::string key_name(std::uint64_t key) {
    return fmt::format("k:{:010x}", key);
}

// 64 bits of noise: splitmix64 (public domain, Vigna) of the arguments.
[[nodiscard]] constexpr std::uint64_t noise(std::uint64_t key, std::uint64_t version,
                                            std::uint64_t index) {
    std::uint64_t z = key * 0x9e3779b97f4a7c15u + version * 0xd1b54a32d192ed03u + index;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Key, version, noise.
inline void make_value(std::uint64_t key, std::uint64_t version,
                       std::span<char, kValueBytes> into) {
    std::memcpy(into.data(), &key, sizeof key);
    std::memcpy(into.data() + 8, &version, sizeof version);
    for (std::size_t at = 16; at < kValueBytes; at += 8) {
        const std::uint64_t word = noise(key, version, at);
        std::memcpy(into.data() + at, &word, sizeof word);
    }
}

// The version of a value; nullopt if any byte is not what make_value wrote for this key.
[[nodiscard]] inline std::optional<std::uint64_t> check_value(std::uint64_t key,
                                                              std::string_view value) {
    if (value.size() != kValueBytes) return std::nullopt;
    std::uint64_t version = 0;
    std::memcpy(&version, value.data() + 8, sizeof version);
    char expected[kValueBytes];
    make_value(key, version, expected);
    if (std::memcmp(expected, value.data(), kValueBytes) != 0) return std::nullopt;
    return version;
}

}  // namespace ferry::lab
