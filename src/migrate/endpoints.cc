#include "migrate/endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>
#include <string>

#include "os/fd.h"

namespace ferry::migrate {
namespace {

template <class T>
std::optional<T> number(std::string_view text, int base) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<std::string_view> fields_of(std::string_view line) {
    std::vector<std::string_view> fields;
    while (!line.empty()) {
        const std::size_t begin = line.find_first_not_of(' ');
        if (begin == std::string_view::npos) break;
        const std::size_t end = std::min(line.find(' ', begin), line.size());
        fields.push_back(line.substr(begin, end - begin));
        line.remove_prefix(end);
    }
    return fields;
}

// "0100007F:1F90" or 32 digits for IPv6: words of the address in host byte order.
std::optional<handover::IpAddress> parse_address(std::string_view text) {
    const std::size_t colon = text.find(':');
    if (colon != 8 && colon != 32) return std::nullopt;
    std::array<std::uint8_t, 16> octets{};
    for (std::size_t word = 0; word * 8 < colon; ++word) {
        const auto value = number<std::uint32_t>(text.substr(word * 8, 8), 16);
        if (!value) return std::nullopt;
        std::memcpy(octets.data() + word * 4, &*value, sizeof(*value));
    }
    auto parsed = handover::IpAddress::from_bytes(std::span(octets).first(colon / 2));
    if (!parsed) return std::nullopt;
    return *parsed;
}

std::vector<std::uint64_t> socket_inodes(Pid pid) {
    std::vector<std::uint64_t> inodes;
    const std::string directory = fmt::format("/proc/{}/fd", pid);
    const auto names = os::list_directory(os::kCwd, directory);
    if (!names) return inodes;
    for (const std::string& name : *names) {
        const auto target = os::readlinkat(os::kCwd, directory + "/" + name);
        if (!target || !target->starts_with("socket:[") || !target->ends_with(']')) continue;
        const std::string_view digits = std::string_view(*target).substr(8, target->size() - 9);
        if (const auto inode = number<std::uint64_t>(digits, 10)) inodes.push_back(*inode);
    }
    return inodes;
}

void sort_unique(std::vector<handover::IpAddress>& addresses) {
    std::sort(addresses.begin(), addresses.end());
    addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
}

}  // namespace

Result<std::vector<handover::IpAddress>> addresses_in_table(std::string_view table,
                                                            std::span<const std::uint64_t> inodes) {
    constexpr std::size_t kLocalAddress = 1;
    constexpr std::size_t kInode = 9;
    std::vector<handover::IpAddress> addresses;
    table.remove_prefix(std::min(table.find('\n'), table.size()));  // the heading
    while (!table.empty()) {
        table.remove_prefix(1);
        const std::string_view line = table.substr(0, table.find('\n'));
        table.remove_prefix(line.size());
        if (line.empty()) continue;
        const std::vector<std::string_view> fields = fields_of(line);
        const auto inode =
            fields.size() > kInode ? number<std::uint64_t>(fields[kInode], 10) : std::nullopt;
        const auto address = inode ? parse_address(fields[kLocalAddress]) : std::nullopt;
        if (!address) return fail(Error::corrupt(fmt::format("socket table: \"{}\"", line)));
        if (!std::binary_search(inodes.begin(), inodes.end(), *inode)) continue;
        if (!address->is_wildcard() && !address->is_loopback()) addresses.push_back(*address);
    }
    sort_unique(addresses);
    return addresses;
}

// Each table once for all that share it: the kernel walks all its hash buckets for every reader.
Result<std::vector<handover::IpAddress>> local_addresses(std::span<const Pid> pids) {
    struct Space {
        Pid member;
        std::vector<std::uint64_t> inodes;
    };
    std::map<std::string, Space> spaces;  // by what /proc/PID/ns/net says
    for (const Pid pid : pids) {
        const std::vector<std::uint64_t> inodes = socket_inodes(pid);
        const auto name = os::readlinkat(os::kCwd, fmt::format("/proc/{}/ns/net", pid));
        if (inodes.empty() || !name) continue;
        Space& space = spaces.try_emplace(*name, Space{.member = pid, .inodes = {}}).first->second;
        space.inodes.insert(space.inodes.end(), inodes.begin(), inodes.end());
    }
    std::vector<handover::IpAddress> addresses;
    for (auto& [name, space] : spaces) {
        std::ranges::sort(space.inodes);
        for (const char* kind : {"tcp", "tcp6", "udp", "udp6"}) {
            const auto table = os::read_file(fmt::format("/proc/{}/net/{}", space.member, kind));
            if (!table) continue;  // the process has ended, or there is no IPv6
            const auto found = TRY(addresses_in_table(*table, space.inodes));
            addresses.insert(addresses.end(), found.begin(), found.end());
        }
    }
    sort_unique(addresses);
    return addresses;
}

}  // namespace ferry::migrate
