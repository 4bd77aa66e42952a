#include "proc/tables.h"

#include <fmt/format.h>
#include <signal.h>

#include <cstring>
#include <optional>

#include "base/limits.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};
// The columns of /proc/PID/limits have fixed widths (fs/proc/base.c: "%-25s %-20s %-20s %-10s").
constexpr std::size_t kLimitNameWidth = 25;

Error bad_line(std::string_view file, std::string_view line) {
    return Error::corrupt(fmt::format("{}: cannot read \"{}\"", file, line.substr(0, 200)));
}

std::optional<std::uint64_t> parse_limit(std::string_view word) {
    if (word == "unlimited") return kUnlimited;
    return to_number<std::uint64_t>(word);
}

std::string_view trim_end(std::string_view text) {
    const auto last = text.find_last_not_of(" \t\n");
    return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

std::optional<int> parse_notify(std::string_view word, bool& to_thread) {
    to_thread = false;
    // "signal/tid.4711", "none/pid.4711", "thread/tid.4711"
    const std::string_view kind = take_until(word, '/');
    to_thread = word.starts_with("tid");
    if (kind == "signal") return SIGEV_SIGNAL;
    if (kind == "none") return SIGEV_NONE;
    if (kind == "thread") return SIGEV_THREAD;
    return std::nullopt;
}

bool read_timer_line(std::string_view key, std::string_view value, TimerLine& timer) {
    if (key == "signal") {  // "signal: 14/0000000000000000"
        const auto signal = to_number<int>(take_until(value, '/'));
        if (value.starts_with("0x")) value.remove_prefix(2);
        const auto payload = to_number<std::uint64_t>(value, 16);
        if (!signal || !payload) return false;
        timer.signal = *signal;
        timer.value = *payload;
    } else if (key == "notify") {
        bool to_thread = false;
        const auto notify = parse_notify(value, to_thread);
        const auto dot = value.rfind('.');
        if (!notify || dot == std::string_view::npos) return false;
        const auto target = to_number<pid_t>(value.substr(dot + 1));
        if (!target) return false;
        timer.notify = *notify | (to_thread ? SIGEV_THREAD_ID : 0);
        timer.target = *target;
    } else if (key == "ClockID") {
        const auto clock = to_number<int>(value);
        if (!clock) return false;
        timer.clock = *clock;
    }
    return true;
}

}  // namespace

Result<std::vector<Limit>> parse_limits(std::string_view text) {
    std::vector<Limit> limits;
    (void)take_until(text, '\n');  // The heading.
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        if (line.size() <= kLimitNameWidth) return fail(bad_line("limits", line));
        std::string_view rest = line.substr(kLimitNameWidth);
        const auto soft = parse_limit(take_word(rest));
        const auto hard = parse_limit(take_word(rest));
        if (!soft || !hard) return fail(bad_line("limits", line));
        limits.push_back({.name = std::string(trim_end(line.substr(0, kLimitNameWidth))),
                          .soft = *soft,
                          .hard = *hard});
    }
    return limits;
}

Result<std::vector<CgroupLine>> parse_cgroups(std::string_view text) {
    std::vector<CgroupLine> groups;
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        std::string_view rest = line;
        const auto hierarchy = to_number<int>(take_until(rest, ':'));
        const std::string_view controllers = take_until(rest, ':');
        if (!hierarchy || !rest.starts_with('/')) return fail(bad_line("cgroup", line));
        groups.push_back({.hierarchy = *hierarchy,
                          .controllers = std::string(controllers),
                          .path = std::string(rest)});
    }
    return groups;
}

Result<std::vector<TimerLine>> parse_timers(std::string_view text) {
    std::vector<TimerLine> timers;
    while (!text.empty()) {
        const std::string_view line = take_until(text, '\n');
        std::string_view value = line;
        const std::string_view key = take_until(value, ':');
        value = skip_blanks(value);
        if (key == "ID") {
            const auto id = to_number<int>(value);
            if (!id) return fail(bad_line("timers", line));
            timers.push_back({.id = *id});
            continue;
        }
        if (timers.empty() || !read_timer_line(key, value, timers.back())) {
            return fail(bad_line("timers", line));
        }
    }
    return timers;
}

Result<std::vector<std::uint64_t>> parse_auxv(std::string_view bytes) {
    std::vector<std::uint64_t> words;
    for (std::size_t at = 0; at + 16 <= bytes.size(); at += 16) {
        std::uint64_t pair[2];
        std::memcpy(pair, bytes.data() + at, sizeof(pair));
        words.insert(words.end(), {pair[0], pair[1]});
        if (pair[0] == 0) return words;
    }
    return fail(Error::corrupt("auxv: no AT_NULL"));
}

Result<std::vector<Pid>> parse_children(std::string_view text) {
    std::vector<Pid> children;
    for (auto word = take_word(text); !word.empty(); word = take_word(text)) {
        const auto pid = to_number<pid_t>(word);
        if (!pid) return fail(bad_line("children", word));
        children.push_back(Pid{*pid});
    }
    return children;
}

std::string_view find_field(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        std::string_view value = take_until(text, '\n');
        if (take_until(value, ':') == key) return trim_end(skip_blanks(value));
    }
    return {};
}

}  // namespace ferry::proc
