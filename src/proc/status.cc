#include "proc/status.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

template <class T>
bool read_number(std::string_view text, T& into, int base = 10) {
    std::string_view rest = text;
    const auto value = to_number<T>(take_word(rest), base);
    if (value) into = *value;
    return value.has_value();
}

template <class T>
bool read_flag(std::string_view text, T& into) {
    unsigned value = 0;
    if (!read_number(text, value)) return false;
    into = value != 0;
    return true;
}

bool read_four(std::string_view text, std::array<std::uint32_t, 4>& into) {
    for (auto& number : into) {
        const auto value = to_number<std::uint32_t>(take_word(text));
        if (!value) return false;
        number = *value;
    }
    return true;
}

template <class T>
bool read_list(std::string_view text, std::vector<T>& into) {
    for (auto word = take_word(text); !word.empty(); word = take_word(text)) {
        const auto value = to_number<T>(word);
        if (!value || into.size() >= limits::kGroupsMax) return false;
        into.push_back(*value);
    }
    return true;
}

bool read_ids(std::string_view key, std::string_view value, Status& status) {
    if (key == "Tgid") return read_number(value, status.process.value);
    if (key == "Pid") return read_number(value, status.tid.value);
    if (key == "PPid") return read_number(value, status.parent.value);
    if (key == "TracerPid") return read_number(value, status.tracer.value);
    if (key == "Uid") return read_four(value, status.uids);
    if (key == "Gid") return read_four(value, status.gids);
    if (key == "Groups") return read_list(value, status.groups);
    if (key == "NStgid") return read_list(value, status.ns_pids);
    if (key == "NSpid") return read_list(value, status.ns_tids);
    if (key == "NSpgid") return read_list(value, status.ns_groups);
    if (key == "NSsid") return read_list(value, status.ns_sessions);
    if (key == "Threads") return read_number(value, status.thread_count);
    if (key == "Umask") return read_number(value, status.umask, 8);
    return true;
}

bool read_masks(std::string_view key, std::string_view value, Status& status) {
    if (key == "SigPnd") return read_number(value, status.pending_thread, 16);
    if (key == "ShdPnd") return read_number(value, status.pending_process, 16);
    if (key == "SigBlk") return read_number(value, status.blocked, 16);
    if (key == "SigIgn") return read_number(value, status.ignored, 16);
    if (key == "SigCgt") return read_number(value, status.caught, 16);
    if (key == "CapInh") return read_number(value, status.cap_inheritable, 16);
    if (key == "CapPrm") return read_number(value, status.cap_permitted, 16);
    if (key == "CapEff") return read_number(value, status.cap_effective, 16);
    if (key == "CapBnd") return read_number(value, status.cap_bounding, 16);
    if (key == "CapAmb") return read_number(value, status.cap_ambient, 16);
    return true;
}

bool read_rest(std::string_view key, std::string_view value, Status& status) {
    if (key == "NoNewPrivs") return read_flag(value, status.no_new_privileges);
    if (key == "Seccomp") return read_number(value, status.seccomp_mode);
    if (key == "THP_enabled") return read_flag(value, status.thp_enabled);
    if (key == "CoreDumping") return read_flag(value, status.core_dumping);
    if (key == "VmRSS") return read_number(value, status.resident_kib);
    if (key == "Name") status.name = value;
    if (key == "State" && !value.empty()) status.state = value.front();
    return true;
}

}  // namespace

Result<Status> parse_status(std::string_view text) {
    Status status;
    while (!text.empty()) {
        std::string_view value = take_until(text, '\n');
        const std::string_view key = take_until(value, ':');
        if (!value.empty() && value.front() == '\t') value.remove_prefix(1);
        if (!read_ids(key, value, status) || !read_masks(key, value, status) ||
            !read_rest(key, value, status)) {
            return fail(Error::corrupt(fmt::format("status: {}: {}", key, value)));
        }
    }
    if (status.tid.value == 0) return fail(Error::corrupt("status: no Pid line"));
    return status;
}

}  // namespace ferry::proc
