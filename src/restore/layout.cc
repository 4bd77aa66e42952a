#include "restore/layout.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <variant>

#include "base/check.h"

#ifndef MADV_KEEPONFORK
#define MADV_KEEPONFORK 19
#endif

namespace ferry::restore {
namespace {

using model::Vma;
using model::VmaKind;

// vm.mmap_min_addr is 64 KiB on every distribution.
constexpr RemoteAddr kLowest{0x10000};
constexpr RemoteAddr kLowEnd{1ULL << 32};

// Two mappings that cover one address hold the same memory there.
bool is_same_memory(const MappedVma& a, const MappedVma& b) {
    if (a.vma.kind != b.vma.kind || a.path != b.path) return false;
    if (a.vma.shared_id != b.vma.shared_id) return false;
    if (a.vma.attached_for_reading != b.vma.attached_for_reading) return false;
    // Pages of a private mapping stay when its file loses its name; a shared one's are the file's.
    if (a.vma.kind == VmaKind::FileShared && a.ghost != b.ghost) return false;
    if (a.vma.grows_down != b.vma.grows_down || a.vma.no_reserve != b.vma.no_reserve) return false;
    if (a.vma.droppable != b.vma.droppable) return false;
    if (a.vma.kind == VmaKind::Anonymous) return true;
    return a.vma.file_offset - a.vma.range.start.value ==
           b.vma.file_offset - b.vma.range.start.value;
}

MappedVma cut(const MappedVma& whole, AddrRange range) {
    MappedVma part = whole;
    part.vma.range = range;
    if (whole.vma.kind != VmaKind::Anonymous) {
        part.vma.file_offset += range.start - whole.vma.range.start;
    }
    return part;
}

bool has(const std::vector<int>& list, int advice) {
    return std::ranges::find(list, advice) != list.end();
}

// What takes `now`'s advice to `wanted`'s. Huge page advice has no "neither": it is then left as it
// is.
std::vector<int> advice_between(const std::vector<int>& now, const std::vector<int>& wanted) {
    std::vector<int> calls;
    for (const int advice : now) {
        if (has(wanted, advice)) continue;
        if (advice == MADV_DONTDUMP) calls.push_back(MADV_DODUMP);
        if (advice == MADV_MERGEABLE) calls.push_back(MADV_UNMERGEABLE);
        if (advice == MADV_RANDOM || advice == MADV_SEQUENTIAL) calls.push_back(MADV_NORMAL);
    }
    for (const int advice : wanted) {
        if (!is_late_advice(advice) && !has(now, advice)) calls.push_back(advice);
    }
    return calls;
}

class Planner {
  public:
    void visit(const MappedVma* now, const MappedVma* wanted, AddrRange range) {
        if (now != nullptr && wanted != nullptr && is_same_memory(*now, *wanted)) {
            change(*now, *wanted, range);
            return;
        }
        if (now != nullptr) unmap(range);
        if (wanted != nullptr) map(*wanted, range);
    }

    std::vector<LayoutStep> finish() && {
        for (auto& [wanted, range] : maps_) {
            const MappedVma part = cut(*wanted, range);
            rest_.push_back({.kind = LayoutStep::Kind::Map, .range = range, .target = part});
            const std::vector<int> calls = advice_between({}, part.vma.advice);
            if (!calls.empty()) add(LayoutStep::Kind::Advise, part, range, calls);
            if (!part.vma.name.empty()) add(LayoutStep::Kind::Name, part, range);
        }
        std::ranges::stable_sort(rest_, {}, [](const LayoutStep& s) { return s.range.start; });
        std::ranges::move(rest_, std::back_inserter(unmaps_));
        return std::move(unmaps_);
    }

  private:
    void map(const MappedVma& wanted, AddrRange range) {
        if (!maps_.empty() && maps_.back().first == &wanted &&
            maps_.back().second.end == range.start) {
            maps_.back().second.end = range.end;
            return;
        }
        maps_.emplace_back(&wanted, range);
    }
    void change(const MappedVma& now, const MappedVma& wanted, AddrRange range) {
        const MappedVma part = cut(wanted, range);
        if (now.vma.protection != wanted.vma.protection) {
            add(LayoutStep::Kind::Protect, part, range);
        }
        const std::vector<int> calls = advice_between(now.vma.advice, wanted.vma.advice);
        if (!calls.empty()) add(LayoutStep::Kind::Advise, part, range, calls);
        if (now.vma.name != wanted.vma.name) add(LayoutStep::Kind::Name, part, range);
    }
    void add(LayoutStep::Kind kind, const MappedVma& target, AddrRange range,
             std::vector<int> advice = {}) {
        rest_.push_back(
            {.kind = kind, .range = range, .target = target, .advice = std::move(advice)});
    }
    void unmap(AddrRange range) {
        if (!unmaps_.empty() && unmaps_.back().range.end == range.start) {
            unmaps_.back().range.end = range.end;
        } else {
            unmaps_.push_back({.range = range});
        }
    }

    std::vector<LayoutStep> unmaps_, rest_;
    std::vector<std::pair<const MappedVma*, AddrRange>> maps_;
};

}  // namespace

namespace {

// What keeps others away from where restore_aio() will put a ring.
Vma place_of(const Vma& ring) {
    return {.range = ring.range, .no_reserve = true, .advice = {}, .name = {}};
}

}  // namespace

bool is_late_advice(int advice) {
    return advice == MADV_DONTFORK || advice == MADV_WIPEONFORK;
}

Result<std::vector<MappedVma>> wanted_mappings(const model::Checkpoint& checkpoint,
                                               const model::Process& process) {
    std::vector<MappedVma> wanted;
    for (const Vma& vma : process.address_space.vmas) {
        switch (vma.kind) {
            case VmaKind::Vdso:
            case VmaKind::Vvar:
            case VmaKind::Vsyscall:
                continue;
            case VmaKind::AnonShared:
            case VmaKind::AnonSharedPrivate:
            case VmaKind::Anonymous:
                wanted.push_back({.vma = vma, .path = ""});
                continue;
            case VmaKind::AioRing:
                wanted.push_back({.vma = place_of(vma), .path = ""});
                continue;
            case VmaKind::FilePrivate:
            case VmaKind::FileShared:
                break;
        }
        const model::OpenFile* file = checkpoint.find_file(vma.file);
        const auto* memory =
            file == nullptr ? nullptr : std::get_if<model::MemoryFile>(&file->body);
        if (memory != nullptr) {
            wanted.push_back({.vma = vma, .path = fmt::format("memfd {}", memory->inode)});
            continue;
        }
        const auto* regular =
            file == nullptr ? nullptr : std::get_if<model::RegularFile>(&file->body);
        if (regular == nullptr) {
            return fail(Error::corrupt(
                fmt::format("process {}: the mapping {} has no file", process.pid, vma.range)));
        }
        wanted.push_back({.vma = vma, .path = regular->path, .ghost = regular->ghost});
    }
    return wanted;
}

std::vector<LayoutStep> plan_layout(std::span<const MappedVma> now,
                                    std::span<const MappedVma> wanted) {
    std::vector<RemoteAddr> cuts;
    for (const auto list : {now, wanted}) {
        for (const MappedVma& mapped : list) {
            cuts.push_back(mapped.vma.range.start);
            cuts.push_back(mapped.vma.range.end);
        }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());

    Planner planner;
    auto covering = [](std::span<const MappedVma>& list, RemoteAddr at) -> const MappedVma* {
        while (!list.empty() && list.front().vma.range.end <= at) list = list.subspan(1);
        return !list.empty() && list.front().vma.range.contains(at) ? &list.front() : nullptr;
    };
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        const AddrRange range{cuts[i], cuts[i + 1]};
        const MappedVma* a = covering(now, range.start);
        const MappedVma* b = covering(wanted, range.start);
        if (a != nullptr || b != nullptr) planner.visit(a, b, range);
    }
    return std::move(planner).finish();
}

Result<RemoteAddr> find_hole(std::vector<AddrRange> used, std::uint64_t bytes) {
    std::ranges::sort(used);
    AddrRange best_low{}, best{};
    const auto consider = [&](AddrRange gap) {
        const AddrRange low{gap.start, std::min(gap.end, kLowEnd)};
        if (low.start < low.end && low.size() > best_low.size()) best_low = low;
        if (gap.start < gap.end && gap.size() > best.size()) best = gap;
    };
    RemoteAddr free_from = kLowest;
    for (const AddrRange& range : used) {
        if (range.start > free_from) consider({free_from, range.start});
        free_from = std::max(free_from, range.end);
    }
    if (free_from < kAddressSpaceEnd) consider({free_from, kAddressSpaceEnd});

    const AddrRange gap = best_low.size() >= bytes ? best_low : best;
    if (gap.size() < bytes) {
        return fail(Error::limit(fmt::format("no room for {} bytes beside the mappings", bytes)));
    }
    return RemoteAddr{page_align_down(gap.start.value + (gap.size() - bytes) / 2)};
}

}  // namespace ferry::restore
