#include "resources/fdinfo.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace ferry::resources {
namespace {

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

template <class T>
bool parse_number(std::string_view text, T& into, int base) {
    text = trim(text);
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, into, base);
    return error == std::errc() && stop == end && !text.empty();
}

// The value after "key:" up to the next blank, on a line that has several of them.
std::string_view field(std::string_view line, std::string_view key) {
    const std::size_t at = line.find(key);
    if (at == std::string_view::npos) return {};
    std::string_view rest = line.substr(at + key.size());
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    return rest.substr(0, rest.find(' '));
}

// "tfd:        5 events:       19 data:                5  pos:0 ino:405 sdev:8", numbers but tfd
// and pos in hexadecimal.
bool parse_epoll_target(std::string_view line, model::EpollTarget& target) {
    std::int64_t position = 0;
    const bool good = parse_number(field(line, "tfd:"), target.fd, 10) &&
                      parse_number(field(line, "events:"), target.events, 16) &&
                      parse_number(field(line, "data:"), target.data, 16) &&
                      parse_number(field(line, "pos:"), position, 10) &&
                      parse_number(field(line, "ino:"), target.inode, 16) &&
                      parse_number(field(line, "sdev:"), target.device, 16);
    target.position = static_cast<std::uint64_t>(position);
    return good;
}

bool parse_bytes(std::string_view digits, model::Bytes& into) {
    if (digits.size() % 2 != 0) return false;
    for (; !digits.empty(); digits.remove_prefix(2)) {
        unsigned byte = 0;
        if (!parse_number(digits.substr(0, 2), byte, 16)) return false;
        into.push_back(static_cast<std::byte>(byte));
    }
    return true;
}

// "inotify wd:2 ino:35d sdev:fe00000 mask:2 ignored_mask:0 fhandle-bytes:8 fhandle-type:1
// f_handle:5d03000022b8fdac", all in hexadecimal; nothing from fhandle-bytes on where the file
// system has no handles.
bool parse_watch(std::string_view line, model::InotifyWatch& watch) {
    const bool good = parse_number(field(line, "wd:"), watch.number, 16) &&
                      parse_number(field(line, "ino:"), watch.inode, 16) &&
                      parse_number(field(line, "sdev:"), watch.device, 16) &&
                      parse_number(field(line, " mask:"), watch.mask, 16);
    const std::string_view type = field(line, "fhandle-type:");
    if (!good || type.empty()) return good;
    return parse_number(type, watch.handle_type, 16) &&
           parse_bytes(field(line, "f_handle:"), watch.handle);
}

std::unexpected<Error> malformed(std::string_view line) {
    return fail(Error::corrupt(fmt::format("fdinfo line '{}'", line)));
}

// "(5, 999832113)", seconds and nanoseconds.
bool parse_time(std::string_view value, std::uint64_t& into) {
    value = trim(value);
    const std::size_t comma = value.find(',');
    if (comma == std::string_view::npos || !value.starts_with('(') || !value.ends_with(')')) {
        return false;
    }
    constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;
    std::uint64_t seconds = 0;
    std::uint64_t nanoseconds = 0;
    const bool good =
        parse_number(value.substr(1, comma - 1), seconds, 10) &&
        parse_number(value.substr(comma + 1, value.size() - comma - 2), nanoseconds, 10);
    if (!good || seconds > ~std::uint64_t{0} / kNanosPerSecond - 1) return false;
    into = seconds * kNanosPerSecond + nanoseconds;
    return nanoseconds < kNanosPerSecond;
}

// The lines of a timerfd; clockid comes first. Other keys are none of ours.
bool parse_timer(std::string_view key, std::string_view value,
                 std::optional<model::TimerFd>& into) {
    if (key == "clockid") return parse_number(value, into.emplace().clock, 10);
    if (!into) return true;
    if (key == "ticks") return parse_number(value, into->ticks, 10);
    if (key == "settime flags") return parse_number(value, into->settime_flags, 8);
    if (key == "it_value") return parse_time(value, into->value_ns);
    if (key == "it_interval") return parse_time(value, into->interval_ns);
    return true;
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    for (text = trim(text); !text.empty(); text = trim(text)) {
        const std::size_t size = std::min(text.find(' '), text.size());
        words.push_back(text.substr(0, size));
        text.remove_prefix(size);
    }
    return words;
}

// "1: POSIX  ADVISORY  WRITE 4711 fe:00:12 100 199": number, kind, mode, type, pid, file, first and
// last byte, or EOF. A lease: "2: LEASE  ACTIVE    READ  4711 fe:00:12 0 EOF".
bool parse_lock(std::string_view value, FdInfo& info) {
    constexpr std::size_t kWords = 8;
    const std::vector<std::string_view> words = words_of(value);
    if (words.size() != kWords) return false;
    if (words[1] == "LEASE" || words[1] == "DELEG") {
        info.has_lease = true;
        return true;
    }
    model::FileLock lock;
    if (words[1] == "FLOCK") {
        lock.kind = model::LockKind::Flock;
    } else if (words[1] == "OFDLCK") {
        lock.kind = model::LockKind::Description;
    } else if (words[1] != "POSIX") {
        return false;
    }
    lock.exclusive = words[3] == "WRITE";
    if (!lock.exclusive && words[3] != "READ") return false;
    if (!parse_number(words[6], lock.start, 10)) return false;
    std::uint64_t last = 0;
    if (words[7] != "EOF") {
        if (!parse_number(words[7], last, 10) || last < lock.start) return false;
        lock.length = last - lock.start + 1;
    }
    info.locks.push_back(lock);
    return true;
}

enum Seen : unsigned { Position = 1, Flags = 2, Mount = 4, All = 7 };

Result<> parse_line(std::string_view line, FdInfo& info, unsigned& seen) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return {};
    const std::string_view key = line.substr(0, colon);
    const std::string_view value = line.substr(colon + 1);
    bool good = true;
    if (key == "pos") {
        good = parse_number(value, info.position, 10);
        seen |= Position;
    } else if (key == "flags") {
        good = parse_number(value, info.flags, 8);
        seen |= Flags;
    } else if (key == "mnt_id") {
        good = parse_number(value, info.mount_id, 10);
        seen |= Mount;
    } else if (key == "ino") {
        good = parse_number(value, info.inode, 10);
    } else if (key == "lock") {
        good = parse_lock(value, info);
    } else if (key == "eventfd-count") {
        good = parse_number(value, info.eventfd_count.emplace(), 16);
    } else if (key == "eventfd-semaphore") {
        info.eventfd_semaphore = trim(value) != "0";
    } else if (key == "tfd") {
        good = parse_epoll_target(line, info.epoll_targets.emplace_back());
    } else if (key == "inotify wd") {
        // The kernel shows the newest first.
        good = parse_watch(line, *info.watches.emplace(info.watches.begin()));
    } else if (key == "sigmask") {
        good = parse_number(value, info.signal_mask.emplace(), 16);
    } else if (key == "Pid") {
        good = parse_number(value, info.pidfd_task.emplace(), 10);
    } else {
        good = parse_timer(key, value, info.timer);
    }
    if (!good) return malformed(line);
    return {};
}

}  // namespace

Result<FdInfo> parse_fdinfo(std::string_view text) {
    FdInfo info;
    unsigned seen = 0;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        TRY(parse_line(text.substr(0, end), info, seen));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    if (seen != All) return fail(Error::corrupt("fdinfo without pos, flags or mnt_id"));
    return info;
}

FileKind kind_of_link(std::string_view link) {
    if (link.starts_with('/')) {
        return link.starts_with("/memfd:") ? FileKind::MemFd : FileKind::Path;
    }
    if (link.starts_with("socket:[")) return FileKind::Socket;
    if (link.starts_with("pipe:[")) return FileKind::Pipe;
    if (link == "anon_inode:[eventfd]") return FileKind::EventFd;
    if (link == "anon_inode:[eventpoll]") return FileKind::EventPoll;
    if (link == "anon_inode:[signalfd]") return FileKind::SignalFd;
    if (link == "anon_inode:[timerfd]") return FileKind::TimerFd;
    if (link == "anon_inode:inotify") return FileKind::Inotify;
    if (link == "anon_inode:[pidfd]") return FileKind::PidFd;
    return FileKind::Other;
}

}  // namespace ferry::resources
