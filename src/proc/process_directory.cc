#include "proc/process_directory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "base/limits.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

// procfs answers ENOENT for a task that is gone when its directory is opened, ESRCH through a
// directory that was opened before.
bool means_gone(const Error& error) {
    return error.kind() == Error::Kind::System && (error.code() == ESRCH || error.code() == ENOENT);
}

Error gone_or(Error error) {
    if (!means_gone(error)) return error;
    return Error::gone(fmt::format("the task is gone ({})", error.message()));
}

template <class T>
Result<T> number_in(Result<std::string> text, std::string_view file, int base) {
    if (!text) return fail(std::move(text.error()));
    std::string_view rest = *text;
    const auto value = to_number<T>(take_word(rest), base);
    if (!value) return fail(Error::corrupt(fmt::format("{} is not a number", file)));
    return *value;
}

}  // namespace

std::string mapped_file(Pid pid, AddrRange range) {
    return fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, range.start.value, range.end.value);
}

Result<ProcessDirectory> ProcessDirectory::open(Pid pid) {
    auto directory = os::open(fmt::format("/proc/{}", pid), O_PATH | O_DIRECTORY);
    if (!directory) {
        if (!means_gone(directory.error())) return fail(std::move(directory.error()));
        return fail(Error::gone(fmt::format("process {} does not exist", pid)));
    }
    return ProcessDirectory(std::move(*directory));
}

Result<ProcessDirectory> ProcessDirectory::open_thread(Pid pid, Tid tid) {
    auto directory = os::open(fmt::format("/proc/{}/task/{}", pid, tid), O_PATH | O_DIRECTORY);
    if (!directory) {
        if (!means_gone(directory.error())) return fail(std::move(directory.error()));
        return fail(Error::gone(fmt::format("process {} has no thread {}", pid, tid)));
    }
    return ProcessDirectory(std::move(*directory));
}

Result<std::string> ProcessDirectory::text(const std::string& name) const {
    auto content = os::read_file(directory_.get(), name);
    if (!content) return fail(gone_or(std::move(content.error())));
    return content;
}

Result<Stat> ProcessDirectory::stat() const {
    return parse_stat(TRY(text("stat")));
}

Result<Status> ProcessDirectory::status() const {
    return parse_status(TRY(text("status")));
}

Result<std::string> ProcessDirectory::maps_text() const {
    return text("maps");
}

Result<std::vector<MapsEntry>> ProcessDirectory::maps() const {
    return parse_maps(TRY(text("maps")));
}

Result<std::vector<SmapsEntry>> ProcessDirectory::smaps(RemoteAddr last) const {
    // The kernel looks at no more mappings than fill the buffer.
    constexpr std::size_t kPiece = 4096;
    auto file = os::openat(directory_.get(), "smaps", O_RDONLY);
    if (!file) return fail(gone_or(std::move(file.error())));
    std::string text;
    std::size_t line = 0;  // start of the first line not looked at
    for (;;) {
        const std::size_t before = text.size();
        text.resize(before + kPiece);
        auto n = os::read(file->get(), std::as_writable_bytes(std::span(text).subspan(before)));
        if (!n) return fail(gone_or(std::move(n.error())));
        text.resize(before + *n);
        if (*n == 0) return parse_smaps(text);
        for (auto end = text.find('\n', line); end != std::string::npos;
             end = text.find('\n', line)) {
            std::string_view rest = std::string_view(text).substr(line, end - line);
            const auto start = to_number<std::uint64_t>(take_until(rest, '-'), 16);
            if (start && *start > last.value)
                return parse_smaps(std::string_view(text).substr(0, line));
            line = end + 1;
        }
    }
}

Result<std::vector<Tid>> ProcessDirectory::threads() const {
    auto names = os::list_directory(directory_.get(), "task");
    if (!names) return fail(gone_or(std::move(names.error())));
    std::vector<Tid> threads;
    threads.reserve(names->size());
    for (const std::string& name : *names) {
        const auto tid = to_number<pid_t>(name);
        if (!tid) return fail(Error::corrupt(fmt::format("task/{} is not a thread", name)));
        threads.push_back(Tid{*tid});
    }
    std::ranges::sort(threads);
    return threads;
}

Result<std::vector<Pid>> ProcessDirectory::children() const {
    return parse_children(TRY(text("children")));
}

Result<std::vector<Limit>> ProcessDirectory::limits() const {
    return parse_limits(TRY(text("limits")));
}

Result<std::vector<CgroupLine>> ProcessDirectory::cgroups() const {
    return parse_cgroups(TRY(text("cgroup")));
}

Result<std::vector<TimerLine>> ProcessDirectory::timers() const {
    return parse_timers(TRY(text("timers")));
}

Result<std::vector<std::uint64_t>> ProcessDirectory::auxv() const {
    return parse_auxv(TRY(text("auxv")));
}

Result<std::uint64_t> ProcessDirectory::namespace_id(const char* name) const {
    const std::string target = TRY(link(fmt::format("ns/{}", name)));
    // "net:[4026531840]"
    std::string_view rest = target;
    (void)take_until(rest, '[');
    const auto inode = to_number<std::uint64_t>(take_until(rest, ']'));
    if (!inode) return fail(Error::corrupt(fmt::format("ns/{}: {}", name, target)));
    return *inode;
}

Result<int> ProcessDirectory::oom_score_adj() const {
    return number_in<int>(text("oom_score_adj"), "oom_score_adj", 10);
}

Result<std::uint32_t> ProcessDirectory::personality() const {
    return number_in<std::uint32_t>(text("personality"), "personality", 16);
}

Result<std::optional<std::uint32_t>> ProcessDirectory::core_filter() const {
    auto filter = text("coredump_filter");
    if (!filter && filter.error().code() == ENOENT) return std::optional<std::uint32_t>();
    return number_in<std::uint32_t>(std::move(filter), "coredump_filter", 16);
}

Result<std::string> ProcessDirectory::comm() const {
    std::string name = TRY(text("comm"));
    if (name.ends_with('\n')) name.pop_back();
    return name;
}

Result<std::string> ProcessDirectory::link(const std::string& name) const {
    auto target = os::readlinkat(directory_.get(), name);
    if (!target) return fail(gone_or(std::move(target.error())));
    return target;
}

}  // namespace ferry::proc
