#include "handover/ip_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

namespace ferry::handover {
namespace {

// ::ffff:0:0/96
constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(std::span<const std::uint8_t> bytes) {
    return bytes.size() == 16 && std::ranges::equal(bytes.first(12), kMappedPrefix);
}

}  // namespace

bool IpAddress::is_wildcard() const {
    return std::ranges::all_of(bytes(), [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_loopback() const {
    if (family == AF_INET) return octets[0] == 127;
    if (is_mapped(bytes())) return octets[12] == 127;
    return octets[15] == 1 &&
           std::ranges::all_of(bytes().first(15), [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_link_local() const {
    return family == AF_INET6 && octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80;
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    return ::inet_ntop(family, octets.data(), text.data(), text.size()) != nullptr ? text.data()
                                                                                   : "(no address)";
}

Result<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> bytes) {
    IpAddress address;
    if (is_mapped(bytes)) bytes = bytes.subspan(12);
    if (bytes.size() != 4 && bytes.size() != 16) {
        return fail(Error::corrupt(fmt::format("an IP address of {} bytes", bytes.size())));
    }
    address.family = bytes.size() == 4 ? AF_INET : AF_INET6;
    std::ranges::copy(bytes, address.octets.begin());
    return address;
}

Result<IpAddress> IpAddress::parse(const std::string& text) {
    IpAddress address;
    address.family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (::inet_pton(address.family, text.c_str(), address.octets.data()) != 1) {
        return fail(Error::invalid(fmt::format("'{}' is no IP address", text)));
    }
    return address;
}

IpAddress IpAddress::from_socket(int family, const in6_addr& address) {
    IpAddress result;
    const std::span<const std::uint8_t> raw(address.s6_addr);
    if (family == AF_INET6 && !is_mapped(raw)) {
        result.family = AF_INET6;
        std::ranges::copy(raw, result.octets.begin());
    } else {
        std::ranges::copy(family == AF_INET6 ? raw.subspan(12) : raw.first(4),
                          result.octets.begin());
    }
    return result;
}

}  // namespace ferry::handover
