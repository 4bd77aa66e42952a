#include "proc/maps.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <optional>

#include "base/limits.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

// The kernel writes a newline in a path as "\012" (seq_path's escape of "\n").
std::string unescape(std::string_view text) {
    std::string path;
    path.reserve(text.size());
    while (!text.empty()) {
        if (text.starts_with("\\012")) {
            path += '\n';
            text.remove_prefix(4);
            continue;
        }
        path += text.front();
        text.remove_prefix(1);
    }
    return path;
}

std::optional<AddrRange> parse_range(std::string_view word) {
    const auto start = to_number<std::uint64_t>(take_until(word, '-'), 16);
    const auto end = to_number<std::uint64_t>(word, 16);
    if (!start || !end || *end <= *start || (*start | *end) % kPageSize != 0) return std::nullopt;
    return AddrRange{.start = {*start}, .end = {*end}};
}

bool parse_permissions(std::string_view word, MapsEntry& entry) {
    if (word.size() != 4) return false;
    if (word[0] == 'r') entry.protection |= PROT_READ;
    if (word[1] == 'w') entry.protection |= PROT_WRITE;
    if (word[2] == 'x') entry.protection |= PROT_EXEC;
    entry.shared = word[3] == 's';
    return word[3] == 's' || word[3] == 'p';
}

std::optional<MapsEntry> parse_maps_line(std::string_view line) {
    MapsEntry entry;
    const auto range = parse_range(take_word(line));
    if (!range || !parse_permissions(take_word(line), entry)) return std::nullopt;
    entry.range = *range;
    const auto offset = to_number<std::uint64_t>(take_word(line), 16);
    std::string_view device = take_word(line);
    const auto major = to_number<std::uint32_t>(take_until(device, ':'), 16);
    const auto minor = to_number<std::uint32_t>(device, 16);
    const auto inode = to_number<std::uint64_t>(take_word(line));
    if (!offset || !major || !minor || !inode) return std::nullopt;
    entry.offset = *offset;
    entry.device_major = *major;
    entry.device_minor = *minor;
    entry.inode = *inode;
    std::string_view path = skip_blanks(line);
    if (entry.inode != 0 && path.ends_with(kDeleted)) {
        entry.deleted = true;
        path.remove_suffix(kDeleted.size());
    }
    entry.path = unescape(path);
    return entry;
}

Error bad_line(std::string_view file, std::string_view line) {
    return Error::corrupt(fmt::format("{}: cannot read \"{}\"", file, line.substr(0, 200)));
}

// The lines under an smaps header look like "Rss:        4 kB" and "VmFlags: rd ex mr mw me".
bool is_smaps_detail(std::string_view line) {
    const auto word_end = line.find_first_of(" :");
    return word_end != std::string_view::npos && line[word_end] == ':';
}

void read_smaps_detail(std::string_view line, SmapsEntry& entry) {
    const std::string_view key = take_until(line, ':');
    if (key == "Rss") entry.resident_kib = to_number<std::uint64_t>(take_word(line)).value_or(0);
    if (key == "Swap") entry.swap_kib = to_number<std::uint64_t>(take_word(line)).value_or(0);
    if (key != "VmFlags") return;
    for (auto flag = take_word(line); !flag.empty(); flag = take_word(line)) {
        entry.flags.emplace_back(flag);
    }
}

}  // namespace

Result<std::vector<MapsEntry>> parse_maps(std::string_view text) {
    std::vector<MapsEntry> entries;
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        auto entry = parse_maps_line(line);
        if (!entry) return fail(bad_line("maps", line));
        if (entries.size() >= limits::kVmasMax)
            return fail(Error::limit("maps: too many mappings"));
        entries.push_back(std::move(*entry));
    }
    return entries;
}

Result<std::vector<SmapsEntry>> parse_smaps(std::string_view text) {
    std::vector<SmapsEntry> entries;
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        if (is_smaps_detail(line)) {
            if (entries.empty()) return fail(bad_line("smaps", line));
            read_smaps_detail(line, entries.back());
            continue;
        }
        auto entry = parse_maps_line(line);
        if (!entry) return fail(bad_line("smaps", line));
        if (entries.size() >= limits::kVmasMax)
            return fail(Error::limit("smaps: too many mappings"));
        entries.push_back(SmapsEntry{.maps = std::move(*entry)});
    }
    return entries;
}

}  // namespace ferry::proc
