#include "proc/system_tables.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <tuple>

#include "proc/tables.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

// "MemTotal:        8152192 kB"
Result<std::uint64_t> kib_field(std::string_view meminfo, std::string_view key) {
    std::string_view value = find_field(meminfo, key);
    const auto kib = to_number<std::uint64_t>(take_word(value));
    if (!kib) return fail(Error::corrupt(fmt::format("meminfo: {} is missing or no number", key)));
    return *kib * 1024;
}

// The position of `wanted` among the words of `line`; npos if it is not there.
std::size_t word_index(std::string_view line, std::string_view wanted) {
    for (std::size_t index = 0;; ++index) {
        const std::string_view word = take_word(line);
        if (word.empty()) return std::string_view::npos;
        if (word == wanted) return index;
    }
}

}  // namespace

Result<std::uint64_t> parse_memory_total(std::string_view meminfo) {
    return kib_field(meminfo, "MemTotal");
}

Result<std::uint64_t> parse_memory_in_use(std::string_view meminfo) {
    const std::uint64_t total = TRY(parse_memory_total(meminfo));
    const std::uint64_t available = TRY(kib_field(meminfo, "MemAvailable"));
    return total > available ? total - available : 0;
}

Result<DeviceCounters> parse_device_counters(std::string_view net_dev, std::string_view device) {
    // Columns after the name: eight of what was received, then those of what was sent.
    constexpr std::size_t kReceivedBytes = 0, kReceivedPackets = 1, kSentBytes = 8,
                          kSentPackets = 9;
    while (!net_dev.empty()) {
        std::string_view line = take_until(net_dev, '\n');
        if (skip_blanks(take_until(line, ':')) != device) continue;
        std::array<std::uint64_t, kSentPackets + 1> columns = {};
        for (std::uint64_t& column : columns) {
            const auto number = to_number<std::uint64_t>(take_word(line));
            if (!number) return fail(Error::corrupt(fmt::format("net/dev: line of {}", device)));
            column = *number;
        }
        return DeviceCounters{columns[kReceivedBytes], columns[kReceivedPackets],
                              columns[kSentBytes], columns[kSentPackets]};
    }
    return fail(Error::gone(fmt::format("there is no device {}", device)));
}

Result<std::uint64_t> parse_tcp_retransmissions(std::string_view snmp) {
    // Two lines that begin with "Tcp:": names, then values.
    std::size_t index = std::string_view::npos;
    while (!snmp.empty()) {
        std::string_view line = take_until(snmp, '\n');
        if (!line.starts_with("Tcp:")) continue;
        if (index == std::string_view::npos) {
            index = word_index(line, "RetransSegs");
            continue;
        }
        for (std::size_t i = 0; i < index; ++i) static_cast<void>(take_word(line));
        const auto value = to_number<std::uint64_t>(take_word(line));
        if (value) return *value;
        break;
    }
    return fail(Error::corrupt("net/snmp: RetransSegs is missing or no number"));
}

// Groups are indented below the line of their device; the word is a number of the host's byte
// order.
Result<std::vector<MulticastGroup>> parse_igmp(std::string_view text) {
    std::vector<MulticastGroup> groups;
    MulticastGroup current;
    std::ignore = take_until(text, '\n');  // the headings
    while (!text.empty()) {
        std::string_view line = take_until(text, '\n');
        const bool of_device = !line.empty() && line.front() != '\t' && line.front() != ' ';
        const std::string_view first = take_word(line);
        if (of_device) {
            const auto index = to_number<int>(first);
            if (!index) return fail(Error::corrupt("igmp: the index of a device"));
            current.device = *index;
            current.device_name = take_word(line);
            continue;
        }
        const auto address = to_number<std::uint32_t>(first, 16);
        if (!address) return fail(Error::corrupt("igmp: an address"));
        current.address.resize(sizeof(*address));
        std::memcpy(current.address.data(), &*address, sizeof(*address));
        current.users = to_number<int>(take_word(line)).value_or(0);
        groups.push_back(current);
    }
    return groups;
}

Result<std::vector<MulticastGroup>> parse_igmp6(std::string_view text) {
    constexpr std::size_t kDigits = 32;
    std::vector<MulticastGroup> groups;
    while (!text.empty()) {
        std::string_view line = take_until(text, '\n');
        const auto index = to_number<int>(take_word(line));
        MulticastGroup group;
        group.device_name = take_word(line);
        const std::string_view digits = take_word(line);
        if (!index || digits.size() != kDigits) return fail(Error::corrupt("igmp6: a group"));
        group.device = *index;
        for (std::size_t i = 0; i < kDigits; i += 2) {
            const auto byte = to_number<std::uint8_t>(digits.substr(i, 2), 16);
            if (!byte) return fail(Error::corrupt("igmp6: an address"));
            group.address.push_back(*byte);
        }
        group.users = to_number<int>(take_word(line)).value_or(0);
        groups.push_back(std::move(group));
    }
    return groups;
}

}  // namespace ferry::proc
