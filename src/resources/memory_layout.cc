#include "resources/memory_layout.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/log.h"
#include "resources/aio.h"

namespace ferry::resources {
namespace {

struct Advice {
    std::string_view flag;
    int advice;
};
// VmFlags (fs/proc/task_mmu.c) that stand for an madvise(2) which still holds.
constexpr std::array<Advice, 8> kAdvice = {{{"dc", MADV_DONTFORK},
                                            {"dd", MADV_DONTDUMP},
                                            {"hg", MADV_HUGEPAGE},
                                            {"nh", MADV_NOHUGEPAGE},
                                            {"mg", MADV_MERGEABLE},
                                            {"wf", MADV_WIPEONFORK},
                                            {"sr", MADV_SEQUENTIAL},
                                            {"rr", MADV_RANDOM}}};

struct Refused {
    std::string_view flag;
    std::string_view what;
};
constexpr std::array<Refused, 6> kRefused = {{{"ht", "huge pages (hugetlbfs)"},
                                              {"um", "pages served by a userfaultfd"},
                                              {"ui", "pages served by a userfaultfd"},
                                              {"pf", "a mapped device"},
                                              {"ss", "a shadow stack"},
                                              {"sl", "a sealed mapping (mseal)"}}};

bool same_attributes(const proc::MapsEntry& a, const proc::MapsEntry& b) {
    const bool same_file = a.inode == b.inode && a.device_major == b.device_major &&
                           a.device_minor == b.device_minor && a.path == b.path;
    // Pages keep their place in the file when a mapping grows, shrinks or is split.
    const bool same_place =
        a.inode == 0 || a.range.start.value - a.offset == b.range.start.value - b.offset;
    return same_file && same_place && a.shared == b.shared;
}

bool is_kernel_mapping(const proc::MapsEntry& entry) {
    return entry.path == "[vdso]" || entry.path == "[vsyscall]" || entry.path.starts_with("[vvar");
}

bool is_segment(const proc::MapsEntry& entry) {
    return entry.deleted && entry.path.starts_with("/SYSV");
}

std::string anonymous_name(const proc::MapsEntry& entry) {
    static constexpr std::string_view kPrefix = "[anon:";
    static constexpr std::string_view kSharedPrefix = "[anon_shmem:";
    for (const std::string_view prefix : {kPrefix, kSharedPrefix}) {
        if (!entry.path.starts_with(prefix) || !entry.path.ends_with(']')) continue;
        return entry.path.substr(prefix.size(), entry.path.size() - prefix.size() - 1);
    }
    return {};
}

}  // namespace

const KnownMapping* find_predecessor(const std::vector<KnownMapping>& known,
                                     const proc::MapsEntry& entry) {
    auto at = std::ranges::upper_bound(known, entry.range.start, {},
                                       [](const KnownMapping& k) { return k.entry.range.end; });
    for (; at != known.end() && at->entry.range.start < entry.range.end; ++at) {
        if (same_attributes(at->entry, entry)) return &*at;
    }
    return nullptr;
}

AddrRange MemoryLayout::mapping_at(RemoteAddr address) const {
    const auto at = std::ranges::upper_bound(
        mappings_, address, {}, [](const KnownMapping& k) { return k.entry.range.end; });
    if (at == mappings_.end() || !at->entry.range.contains(address)) return {};
    return at->entry.range;
}

std::optional<std::string> apply_flags(const proc::SmapsEntry& from, bool write_protection_is_ours,
                                       KnownMapping& into) {
    for (const Refused& refused : kRefused) {
        // The kernel's own [vvar] is a PFN mapping as well, and sealed on some systems.
        if (from.has_flag(refused.flag) && !is_kernel_mapping(from.maps)) {
            return std::string(refused.what);
        }
    }
    if (from.has_flag("uw") && !write_protection_is_ours) {
        return "pages protected by a userfaultfd";
    }
    into.advice.clear();
    for (const Advice& advice : kAdvice) {
        // "dd" of the kernel's own mappings comes with them.
        if (from.has_flag(advice.flag) && !is_kernel_mapping(from.maps)) {
            into.advice.push_back(advice.advice);
        }
    }
    into.grows_down = from.has_flag("gd");
    into.no_reserve = from.has_flag("nr");
    into.locked = from.has_flag("lo");
    into.may_write = from.has_flag("mw");
    into.droppable = from.has_flag("dp");
    return std::nullopt;
}

std::uint64_t shared_id_of(const proc::MapsEntry& entry) {
    return is_segment(entry) ? model::kSegmentIds | entry.inode : entry.inode;
}

std::expected<model::VmaKind, std::string> kind_of(const proc::MapsEntry& entry) {
    using enum model::VmaKind;
    if (entry.path == "[vdso]") return Vdso;
    if (entry.path.starts_with("[vvar")) return Vvar;
    if (entry.path == "[vsyscall]") return Vsyscall;
    if (entry.path == "[uprobes]") return std::unexpected("uprobes");
    if (is_segment(entry)) {
        if (entry.shared) return AnonShared;
        return std::unexpected("a private mapping of System V shared memory");
    }
    if (entry.path.starts_with(kAioRingName)) return AioRing;
    if (entry.path.starts_with("anon_inode:")) return std::unexpected(entry.path);
    if (entry.path.starts_with("socket:")) return std::unexpected("a packet socket's ring");
    if (entry.path.starts_with("[anon_shmem:") || (entry.path == "/dev/zero" && entry.deleted)) {
        return entry.shared ? AnonShared : AnonSharedPrivate;
    }
    if (entry.inode == 0) {
        if (entry.shared) return std::unexpected("a shared mapping without a file");
        return Anonymous;
    }
    return entry.shared ? FileShared : FilePrivate;
}

Result<> MemoryLayout::read_details(std::vector<KnownMapping>& mappings, RemoteAddr last_unknown) {
    const std::vector<proc::SmapsEntry> details = TRY(directory_->smaps(last_unknown));
    for (KnownMapping& mapping : mappings) {
        const auto at = std::ranges::lower_bound(details, mapping.entry.range.start, {},
                                                 [](const auto& d) { return d.maps.range.start; });
        // A mapping that changed between the two texts is looked at again next time.
        if (at == details.end() || at->maps.range.start != mapping.entry.range.start) continue;
        if (const auto refused = apply_flags(*at, write_protection_is_ours_, mapping)) {
            return fail(Error::unsupported(fmt::format("process {}: {} at {} is not carried", pid_,
                                                       *refused, mapping.entry.range)));
        }
    }
    return {};
}

void MemoryLayout::read_ahead() {
    if (auto text = directory_->maps_text()) ahead_ = std::move(*text);
}

Result<bool> MemoryLayout::refresh() {
    std::optional<std::string> ahead = std::exchange(ahead_, std::nullopt);
    std::string text = ahead ? std::move(*ahead) : TRY(directory_->maps_text());
    if (auxv_.empty()) auxv_ = TRY(directory_->auxv());
    if (text == text_) return false;
    std::vector<KnownMapping> fresh;
    std::optional<RemoteAddr> last_unknown;
    for (proc::MapsEntry& entry : TRY(proc::parse_maps(text))) {
        const auto kind = kind_of(entry);
        if (!kind) {
            return fail(Error::unsupported(fmt::format(
                "process {}: {} is mapped at {}: not carried", pid_, kind.error(), entry.range)));
        }
        if (is_segment(entry) && !with_segments_) {
            return fail(Error::unsupported(
                fmt::format("process {}: System V shared memory is mapped at {}: not carried", pid_,
                            entry.range)));
        }
        KnownMapping mapping = {.entry = std::move(entry), .advice = {}};
        if (const KnownMapping* known = find_predecessor(mappings_, mapping.entry)) {
            mapping.advice = known->advice;
            mapping.grows_down = known->grows_down;
            mapping.no_reserve = known->no_reserve;
            mapping.locked = known->locked;
            mapping.may_write = known->may_write;
            mapping.droppable = known->droppable;
            // Its content is left behind: it must not have been replaced. Who sends pages finds
            // out by itself (migrate/memory_sender.h), and a second look would be a slow one.
            if (known->droppable && !write_protection_is_ours_) {
                last_unknown = mapping.entry.range.start;
            }
        } else {
            last_unknown = mapping.entry.range.start;
        }
        fresh.push_back(std::move(mapping));
    }
    if (last_unknown) {
        log_debug("process {}: reading smaps up to {}", pid_, *last_unknown);
        TRY(read_details(fresh, *last_unknown));
    }
    mappings_ = std::move(fresh);
    text_ = std::move(text);
    return true;
}

Result<model::AddressSpace> MemoryLayout::address_space(FileCollector& files) const {
    model::AddressSpace space;
    const proc::Stat stat = TRY(directory_->stat());
    space.layout = {.start_code = stat.start_code,
                    .end_code = stat.end_code,
                    .start_data = stat.start_data,
                    .end_data = stat.end_data,
                    .start_brk = stat.start_brk,
                    .brk = stat.start_brk,
                    .start_stack = stat.start_stack,
                    .arg_start = stat.arg_start,
                    .arg_end = stat.arg_end,
                    .env_start = stat.env_start,
                    .env_end = stat.env_end,
                    .auxv = auxv_};
    space.exe_file = TRY(files.add_path(fmt::format("/proc/{}/exe", pid_), O_RDONLY));
    space.vmas.reserve(mappings_.size());
    for (const KnownMapping& mapping : mappings_) {
        const proc::MapsEntry& entry = mapping.entry;
        model::Vma vma = {.range = entry.range,
                          .kind = *kind_of(entry),
                          .protection = entry.protection,
                          .grows_down = mapping.grows_down,
                          .no_reserve = mapping.no_reserve,
                          .droppable = mapping.droppable,
                          .locked = mapping.locked,
                          .is_heap = entry.path == "[heap]",
                          .is_stack = entry.path == "[stack]",
                          .advice = mapping.advice,
                          .file = 0,
                          .file_offset = entry.offset,
                          .shared_id = 0,
                          .name = anonymous_name(entry)};
        const bool has_file =
            vma.kind == model::VmaKind::FilePrivate || vma.kind == model::VmaKind::FileShared;
        if (has_file) {
            const bool writes_through = vma.kind == model::VmaKind::FileShared && mapping.may_write;
            vma.file = TRY(files.add_mapped(
                pid_, entry, static_cast<std::uint32_t>(writes_through ? O_RDWR : O_RDONLY)));
        } else if (vma.maps_anonymous_object()) {
            vma.shared_id = shared_id_of(entry);
            vma.attached_for_reading = is_segment(entry) && !mapping.may_write;
        } else {
            vma.file_offset = 0;
        }
        if (vma.is_heap) space.layout.brk = std::max(space.layout.brk, entry.range.end.value);
        space.vmas.push_back(std::move(vma));
    }
    return space;
}

}  // namespace ferry::resources
