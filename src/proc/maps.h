// /proc/PID/maps and /proc/PID/smaps (proc_pid_maps(5), proc_pid_smaps(5)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::proc {

// One line of maps.
struct MapsEntry {
    AddrRange range;
    std::uint32_t protection = 0;  // PROT_READ | PROT_WRITE | PROT_EXEC
    bool shared = false;
    std::uint64_t offset = 0;
    std::uint32_t device_major = 0, device_minor = 0;
    std::uint64_t inode = 0;  // 0: no file
    // The path, unescaped, without " (deleted)"; or the kernel's name: "[heap]", "[anon:x]", "".
    std::string path;
    bool deleted = false;
    bool operator==(const MapsEntry&) const = default;

    [[nodiscard]] bool has_file() const { return inode != 0 && !path.starts_with('['); }
};

// What only smaps tells.
struct SmapsEntry {
    MapsEntry maps;
    std::uint64_t resident_kib = 0, swap_kib = 0;
    std::vector<std::string> flags = {};  // VmFlags: "rd", "wr", "mr", "gd", "lo", ...
    bool operator==(const SmapsEntry&) const = default;

    [[nodiscard]] bool has_flag(std::string_view flag) const {
        for (const std::string& have : flags) {
            if (have == flag) return true;
        }
        return false;
    }
};

// Kind::Corrupt for text of another form, Kind::Limit beyond limits::kVmasMax lines. The entries
// are in the kernel's order: ascending, not overlapping.
Result<std::vector<MapsEntry>> parse_maps(std::string_view text);
Result<std::vector<SmapsEntry>> parse_smaps(std::string_view text);

}  // namespace ferry::proc
