#include "resources/table_scan.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <numeric>
#include <tuple>

#include "base/limits.h"
#include "os/description.h"
#include "proc/process_directory.h"

namespace ferry::resources {
namespace {

bool has_vanished(const Error& error) {
    return error.kind() == Error::Kind::Gone || error.code() == ENOENT || error.code() == ESRCH ||
           error.code() == EBADF;
}

auto sharing_key(const Slot& slot) {
    // All descriptors of a socket share one description: sockfs has no open().
    const bool socket = slot.kind == FileKind::Socket;
    return std::tuple(slot.kind, slot.info.mount_id, slot.info.inode,
                      socket ? 0 : slot.info.flags & ~static_cast<std::uint32_t>(O_CLOEXEC),
                      socket ? 0 : slot.info.position);
}

// Splits candidates into groups by kcmp's total order, n log n questions.
Result<SharingGroups> split(std::span<const Slot> slots, std::span<const std::size_t> candidates) {
    SharingGroups groups;
    for (const std::size_t candidate : candidates) {
        const Holder& own = slots[candidate].holder;
        std::size_t low = 0;
        std::size_t high = groups.size();
        bool found = false;
        while (low < high && !found) {
            const std::size_t middle = (low + high) / 2;
            const Holder& other = slots[groups[middle].front()].holder;
            const auto order = TRY(os::compare_descriptions(own.pid, own.fd, other.pid, other.fd));
            if (order == std::strong_ordering::equal) {
                groups[middle].push_back(candidate);
                found = true;
            } else if (order == std::strong_ordering::less) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if (!found) {
            groups.insert(groups.begin() + static_cast<std::ptrdiff_t>(low), {candidate});
        }
    }
    return groups;
}

Result<> check_threads(Pid pid) {
    const auto names = os::list_directory(os::kCwd, fmt::format("/proc/{}/task", pid));
    if (!names) return {};  // gone
    for (const std::string& name : *names) {
        Pid thread;
        std::from_chars(name.data(), name.data() + name.size(), thread.value);
        if (thread == pid) continue;
        const auto order = os::compare_tables(pid, thread);
        if (order && *order != std::strong_ordering::equal) {
            // A thread that is about to end has given its table back already.
            const auto directory = proc::ProcessDirectory::open_thread(pid, Tid{thread.value});
            const auto stat = directory ? directory->stat() : fail(directory.error());
            if (!stat || stat->is_ending()) continue;
            return fail(Error::unsupported(fmt::format(
                "pid {}: thread {} has a descriptor table of its own, which is not carried", pid,
                thread.value)));
        }
    }
    return {};
}

}  // namespace

Result<TableScanner::Task*> TableScanner::task(Pid pid) {
    const auto known = tasks_.find(pid);
    if (known != tasks_.end()) return &known->second;
    Task task = {.pidfd = TRY(os::PidFd::open(pid)), .fd_directory = {}, .info_directory = {}};
    task.fd_directory = TRY(os::open(fmt::format("/proc/{}/fd", pid), O_RDONLY | O_DIRECTORY));
    task.info_directory =
        TRY(os::open(fmt::format("/proc/{}/fdinfo", pid), O_RDONLY | O_DIRECTORY));
    return &tasks_.emplace(pid, std::move(task)).first->second;
}

Result<> TableScanner::read_info(const Task& task, const std::string& name) {
    const os::UniqueFd file = TRY(os::openat(task.info_directory.get(), name, O_RDONLY));
    constexpr std::size_t kFirst = 4096;
    std::size_t used = 0;
    for (;;) {
        // An epoll descriptor has a line for each of its targets.
        if (text_.size() - used < kFirst) text_.resize(std::max(used * 2, kFirst));
        const auto room = std::as_writable_bytes(std::span(text_)).subspan(used);
        const std::size_t size = TRY(os::read(file.get(), room));
        used += size;
        if (size < room.size()) break;
    }
    text_.resize(used);
    return {};
}

Result<std::string> TableScanner::link_of(const Task& task, const std::string& name,
                                          const FdInfo& info) {
    const auto known = known_links_.find({info.mount_id, info.inode});
    if (known != known_links_.end()) return known->second;
    std::string link = TRY(os::readlinkat(task.fd_directory.get(), name));
    link.shrink_to_fit();
    const FileKind kind = kind_of_link(link);
    if (kind == FileKind::Socket || kind == FileKind::Pipe) {
        known_links_.emplace(std::pair(info.mount_id, info.inode), link);
    }
    return link;
}

Result<Slot> TableScanner::look_at(const Task& task, const Holder& holder) {
    const std::string name = std::to_string(holder.fd);
    Slot slot = {.holder = holder, .info = {}, .kind = {}, .link = {}};
    TRY(read_info(task, name));
    slot.info = TRY(with_context(parse_fdinfo(text_), holder.text()));
    slot.link = TRY(link_of(task, name, slot.info));
    slot.kind = kind_of_link(slot.link);
    return slot;
}

Result<Slot> TableScanner::look_at(const Holder& holder) {
    return look_at(*TRY(task(holder.pid)), holder);
}

Result<std::vector<Slot>> TableScanner::scan(Pid pid) {
    std::vector<Slot> slots;
    const auto opened = task(pid);
    if (!opened) {
        if (has_vanished(opened.error())) return slots;
        return fail(opened.error());
    }
    const Task& task = **opened;
    // Not fd/: listing fdinfo/ also makes the entries that are opened below.
    const auto names = os::list_directory(task.info_directory.get(), ".");
    if (!names) {
        if (has_vanished(names.error())) return slots;
        return fail(names.error());
    }
    if (names->size() > limits::kFilesMax) {
        return fail(Error::limit(fmt::format("pid {} has {} descriptors", pid, names->size())));
    }
    slots.reserve(names->size());
    for (const std::string& name : *names) {
        Holder holder = {.pid = pid, .fd = -1};
        std::from_chars(name.data(), name.data() + name.size(), holder.fd);
        auto slot = look_at(task, holder);
        if (!slot && has_vanished(slot.error())) continue;
        slots.push_back(TRY(std::move(slot)));
    }
    std::ranges::sort(slots, {}, [](const Slot& slot) { return slot.holder.fd; });
    return slots;
}

Result<os::UniqueFd> TableScanner::duplicate(const Holder& holder) {
    const Task& found = *TRY(task(holder.pid));
    auto copy = found.pidfd.getfd(holder.fd);
    if (!copy && has_vanished(copy.error())) {
        return fail(Error::gone(fmt::format("{} is gone", holder.text())));
    }
    return copy;
}

Result<SharingGroups> group_descriptions(std::span<const Slot> slots) {
    std::vector<std::size_t> order(slots.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
        return sharing_key(slots[a]) < sharing_key(slots[b]);
    });
    SharingGroups groups;
    for (std::size_t begin = 0; begin < order.size();) {
        std::size_t end = begin + 1;
        while (end < order.size() &&
               sharing_key(slots[order[end]]) == sharing_key(slots[order[begin]])) {
            ++end;
        }
        const auto candidates = std::span(order).subspan(begin, end - begin);
        if (candidates.size() == 1 || slots[candidates.front()].kind == FileKind::Socket) {
            groups.emplace_back(candidates.begin(), candidates.end());
        } else {
            for (auto& group : TRY(split(slots, candidates))) groups.push_back(std::move(group));
        }
        begin = end;
    }
    // In the order of first appearance, so that ids follow processes and descriptors.
    std::ranges::sort(groups, {}, [](const auto& group) { return group.front(); });
    return groups;
}

Result<> check_tables(std::span<const Pid> pids) {
    std::vector<Pid> sorted;
    for (const Pid pid : pids) {
        TRY(check_threads(pid));
        std::size_t low = 0;
        std::size_t high = sorted.size();
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            const auto order = os::compare_tables(pid, sorted[middle]);
            if (!order) break;  // one of them is gone
            if (*order == std::strong_ordering::equal) {
                return fail(Error::unsupported(fmt::format(
                    "pid {} and pid {} share one descriptor table, which is not carried",
                    sorted[middle], pid)));
            }
            if (*order == std::strong_ordering::less) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        sorted.insert(sorted.begin() + static_cast<std::ptrdiff_t>(low), pid);
    }
    return {};
}

}  // namespace ferry::resources
