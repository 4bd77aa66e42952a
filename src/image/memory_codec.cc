#include "image/memory_codec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"

namespace ferry::image {

namespace {

using model::Vma;
using model::VmaKind;

// Bits of VmaEntry.status. Wire facts of CRIU 4.2.
constexpr std::uint32_t kRegular = 1u << 0, kVsyscall = 1u << 2, kVdso = 1u << 3, kHeap = 1u << 5,
                        kFilePrivate = 1u << 6, kFileShared = 1u << 7, kAnonShared = 1u << 8,
                        kAnonPrivate = 1u << 9, kSegment = 1u << 10, kVvar = 1u << 12,
                        kAioRing = 1u << 13, kMemfd = 1u << 14, kGuard = 1u << 16;

struct Refused {
    std::uint32_t bit;
    const char* name;
};
constexpr Refused kRefused[] = {
    {1u << 11, "a mapped packet socket"},
    {1u << 15, "a shadow stack"},
    {1u << 17, "uprobes"},
    {1u << 27, "a mapping of a CRIU plugin"},
};

constexpr std::uint32_t kMapDroppable = 0x08;  // Linux 6.11; in place of MAP_PRIVATE
constexpr std::uint32_t kKnownFlags =
    MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE;
constexpr unsigned kAdviceBits = 64;
// CRIU's readers take no more auxv words than this.
constexpr std::size_t kAuxvWords = 44;
constexpr std::size_t kAuxvWordsMax = 512;
constexpr std::size_t kVmaNameMax = 256;

std::uint32_t status_of(const Vma& vma) {
    switch (vma.kind) {
        case VmaKind::Anonymous:
            return kRegular | kAnonPrivate | (vma.is_heap ? kHeap : 0);
        // The format has no bit for it; FerryProcess.private_of_shared tells them apart.
        case VmaKind::AnonSharedPrivate:
            return kRegular | kAnonPrivate;
        case VmaKind::FilePrivate:
            return kRegular | kFilePrivate | (vma.is_heap ? kHeap : 0);
        case VmaKind::FileShared:
            return kRegular | kFileShared;
        case VmaKind::AnonShared:
            return kRegular | (model::is_segment(vma.shared_id) ? kSegment : kAnonShared);
        case VmaKind::AioRing:
            return kAioRing;
        case VmaKind::Vdso:
            return kRegular | kVdso | kAnonPrivate;
        case VmaKind::Vvar:
            return kRegular | kVvar | kAnonPrivate;
        case VmaKind::Vsyscall:
            return kVsyscall | kAnonPrivate;
    }
    return 0;
}

std::uint32_t flags_of_vma(const Vma& vma) {
    std::uint32_t flags = 0;
    const bool shared = vma.kind == VmaKind::FileShared || vma.kind == VmaKind::AnonShared ||
                        vma.kind == VmaKind::AioRing;
    const bool file = vma.kind == VmaKind::FilePrivate || vma.kind == VmaKind::FileShared ||
                      vma.kind == VmaKind::AioRing;
    flags |= shared ? MAP_SHARED : vma.droppable ? kMapDroppable : MAP_PRIVATE;
    if (!file && !model::is_segment(vma.shared_id)) flags |= MAP_ANONYMOUS;
    if (vma.grows_down) flags |= MAP_GROWSDOWN;
    if (vma.locked) flags |= MAP_LOCKED;
    if (vma.no_reserve) flags |= MAP_NORESERVE;
    return flags;
}

Result<> vma_to_wire(const Vma& vma, const MappedFiles& files, wire::VmaEntry& into) {
    into.set_start(vma.range.start.value);
    into.set_end(vma.range.end.value);
    into.set_pgoff(vma.file_offset);
    into.set_shmid(vma.maps_anonymous_object() ? vma.shared_id & ~model::kSegmentIds : vma.file);
    into.set_prot(vma.protection);
    into.set_flags(flags_of_vma(vma));
    into.set_status(status_of(vma));
    into.set_fd(-1);
    std::uint64_t advice = 0;
    for (const int value : vma.advice) {
        if (value < 0 || static_cast<unsigned>(value) >= kAdviceBits) {
            return fail(Error::invalid(fmt::format("madvise({}) has no bit", value)));
        }
        advice |= std::uint64_t{1} << value;
    }
    if (advice != 0) into.set_madv(advice);
    if (vma.attached_for_reading) into.set_fdflags(O_RDONLY);
    if (model::is_segment(vma.shared_id) && !vma.attached_for_reading) into.set_fdflags(O_RDWR);
    if (vma.file != 0) {
        const MappedFile file = files(vma.file);
        into.set_fdflags(file.flags);
        if (file.is_memfd) into.set_status(into.status() | kMemfd);
    }
    return {};
}

Result<VmaKind> kind_from_wire(const wire::VmaEntry& from) {
    const std::uint32_t status = from.status();
    for (const Refused& refused : kRefused) {
        if ((status & refused.bit) != 0) return fail(Error::unsupported(refused.name));
    }
    if ((status & kVsyscall) != 0) return VmaKind::Vsyscall;
    if ((status & kVdso) != 0) return VmaKind::Vdso;
    if ((status & kVvar) != 0) return VmaKind::Vvar;
    if ((status & kAioRing) != 0) return VmaKind::AioRing;
    switch (status & (kFilePrivate | kFileShared | kAnonShared | kAnonPrivate | kSegment)) {
        case kFilePrivate:
            return VmaKind::FilePrivate;
        case kFileShared:
            return VmaKind::FileShared;
        case kAnonShared:
        case kSegment:
            return VmaKind::AnonShared;
        case kAnonPrivate:
            return VmaKind::Anonymous;
        default:
            return fail(Error::corrupt(fmt::format("a mapping with status {:#x}", status)));
    }
}

Result<Vma> vma_from_wire(const wire::VmaEntry& from) {
    Vma vma;
    vma.range = {{from.start()}, {from.end()}};
    const std::uint64_t misaligned = (from.start() | from.end()) % kPageSize;
    if (vma.range.empty() || misaligned != 0 || from.pgoff() % kPageSize != 0) {
        return fail(Error::corrupt(fmt::format("a mapping at {}", vma.range)));
    }
    vma.kind = TRY(kind_from_wire(from));
    if ((from.flags() & MAP_HUGETLB) != 0) return fail(Error::unsupported("huge pages (hugetlb)"));
    const std::uint32_t sharing = from.flags() & MAP_TYPE;
    vma.droppable = sharing == kMapDroppable;
    if (vma.droppable && vma.kind != VmaKind::Anonymous) {
        return fail(Error::corrupt("a MAP_DROPPABLE mapping of a file"));
    }
    const std::uint32_t known = kKnownFlags | (vma.droppable ? kMapDroppable : 0);
    if ((from.flags() & ~known) != 0) {
        return fail(Error::unsupported(fmt::format("mmap flags {:#x}", from.flags())));
    }
    constexpr std::uint32_t kProtections = PROT_READ | PROT_WRITE | PROT_EXEC;
    if ((from.prot() & ~kProtections) != 0) {
        return fail(Error::corrupt(fmt::format("protection {:#x}", from.prot())));
    }
    vma.protection = from.prot();
    vma.grows_down = (from.flags() & MAP_GROWSDOWN) != 0;
    vma.no_reserve = (from.flags() & MAP_NORESERVE) != 0;
    vma.locked = (from.flags() & MAP_LOCKED) != 0;
    vma.is_heap = (from.status() & kHeap) != 0;
    for (unsigned bit = 0; bit < kAdviceBits; ++bit) {
        if ((from.madv() >> bit & 1) != 0) vma.advice.push_back(static_cast<int>(bit));
    }
    vma.file_offset = from.pgoff();
    if (vma.kind == VmaKind::FilePrivate || vma.kind == VmaKind::FileShared) {
        if (from.shmid() > UINT32_MAX) return fail(Error::corrupt("a file id above 32 bits"));
        vma.file = static_cast<model::FileId>(from.shmid());
    } else if (vma.kind == VmaKind::AnonShared) {
        vma.shared_id = from.shmid();
        if ((from.status() & kSegment) != 0) {
            vma.shared_id |= model::kSegmentIds;
            vma.attached_for_reading =
                from.has_fdflags() && (from.fdflags() & O_ACCMODE) == O_RDONLY;
        }
    }
    return vma;
}

void layout_to_wire(const model::MmLayout& layout, wire::MmEntry& into, wire::FerryProcess& extra) {
    into.set_mm_start_code(layout.start_code);
    into.set_mm_end_code(layout.end_code);
    into.set_mm_start_data(layout.start_data);
    into.set_mm_end_data(layout.end_data);
    into.set_mm_start_stack(layout.start_stack);
    into.set_mm_start_brk(layout.start_brk);
    into.set_mm_brk(layout.brk);
    into.set_mm_arg_start(layout.arg_start);
    into.set_mm_arg_end(layout.arg_end);
    into.set_mm_env_start(layout.env_start);
    into.set_mm_env_end(layout.env_end);
    // The closing AT_NULL pair is not part of the format.
    std::size_t words = layout.auxv.size();
    while (words >= 2 && layout.auxv[words - 2] == 0 && layout.auxv[words - 1] == 0) words -= 2;
    for (std::size_t i = 0; i < words; ++i) {
        if (i < kAuxvWords) {
            into.add_mm_saved_auxv(layout.auxv[i]);
        } else {
            extra.add_auxv_rest(layout.auxv[i]);
        }
    }
}

Result<model::MmLayout> layout_from_wire(const wire::MmEntry& from,
                                         const wire::FerryProcess& extra) {
    model::MmLayout layout;
    layout.start_code = from.mm_start_code();
    layout.end_code = from.mm_end_code();
    layout.start_data = from.mm_start_data();
    layout.end_data = from.mm_end_data();
    layout.start_stack = from.mm_start_stack();
    layout.start_brk = from.mm_start_brk();
    layout.brk = from.mm_brk();
    layout.arg_start = from.mm_arg_start();
    layout.arg_end = from.mm_arg_end();
    layout.env_start = from.mm_env_start();
    layout.env_end = from.mm_env_end();
    layout.auxv.assign(from.mm_saved_auxv().begin(), from.mm_saved_auxv().end());
    layout.auxv.insert(layout.auxv.end(), extra.auxv_rest().begin(), extra.auxv_rest().end());
    if (layout.auxv.size() > kAuxvWordsMax || layout.auxv.size() % 2 != 0) {
        return fail(Error::corrupt(fmt::format("an auxv of {} words", layout.auxv.size())));
    }
    while (layout.auxv.size() >= 2 && layout.auxv.end()[-2] == 0 && layout.auxv.back() == 0) {
        layout.auxv.resize(layout.auxv.size() - 2);
    }
    layout.auxv.insert(layout.auxv.end(), {0, 0});
    return layout;
}

// [vvar] and [vvar_vclock] (Linux 6.13) are one mapping in CRIU's images.
bool continues_vvar(const Vma& before, const Vma& vma) {
    return before.kind == VmaKind::Vvar && vma.kind == VmaKind::Vvar &&
           before.range.end == vma.range.start;
}

// As mappings behind all others, with this bit alone.
void guards_to_wire(const std::vector<AddrRange>& guards, wire::MmEntry& into) {
    for (const AddrRange& guard : guards) {
        wire::VmaEntry& entry = *into.add_vmas();
        entry.set_start(guard.start.value);
        entry.set_end(guard.end.value);
        entry.set_pgoff(0);
        entry.set_shmid(0);
        entry.set_prot(0);
        entry.set_flags(0);
        entry.set_status(kGuard);
        entry.set_fd(-1);
    }
}

Result<> make_private_of_shared(const wire::VmaEntry& from, Vma& vma) {
    if (vma.kind != VmaKind::Anonymous || vma.droppable || model::is_segment(from.shmid())) {
        return fail(Error::corrupt(fmt::format("a private mapping of no object, {}", vma.range)));
    }
    vma.kind = VmaKind::AnonSharedPrivate;
    vma.shared_id = from.shmid();
    return {};
}

// Cuts vma at those of the cuts that lie within it; appends the parts.
void add_cut(Vma vma, const std::vector<std::uint64_t>& cuts, std::vector<Vma>& into) {
    for (const std::uint64_t cut : cuts) {
        if (!vma.range.contains({cut}) || vma.range.start.value == cut) continue;
        Vma lower = vma;
        lower.range.end = {cut};
        vma.range.start = {cut};
        into.push_back(std::move(lower));
    }
    into.push_back(std::move(vma));
}

}  // namespace

Result<> mm_to_wire(const model::AddressSpace& space, const MappedFiles& files, wire::MmEntry& into,
                    wire::FerryProcess& extra) {
    layout_to_wire(space.layout, into, extra);
    into.set_exe_file_id(space.exe_file);
    into.set_dumpable(space.dumpable);
    into.set_thp_disabled(space.thp_disabled);
    const Vma* before = nullptr;
    for (const Vma& vma : space.vmas) {
        if (before != nullptr && continues_vvar(*before, vma)) {
            into.mutable_vmas(into.vmas_size() - 1)->set_end(vma.range.end.value);
            extra.add_mapping_cuts(vma.range.start.value);
        } else {
            TRY(with_context(vma_to_wire(vma, files, *into.add_vmas()),
                             fmt::format("mapping {}", vma.range)));
        }
        if (vma.kind == VmaKind::AioRing) {
            wire::AioRing& ring = *into.add_aios();
            ring.set_id(vma.range.start.value);
            ring.set_ring_len(static_cast<std::uint32_t>(vma.range.size()));
            ring.set_nr_req(model::aio_requests(vma.range.size()));
        }
        if (!vma.name.empty()) {
            wire::FerryVmaName& name = *extra.add_vma_names();
            name.set_start(vma.range.start.value);
            name.set_name(vma.name);
        }
        if (vma.kind == VmaKind::AnonSharedPrivate) {
            extra.add_private_of_shared(vma.range.start.value);
        }
        before = &vma;
    }
    guards_to_wire(space.guards, into);
    return {};
}

Result<model::AddressSpace> mm_from_wire(const wire::MmEntry& from,
                                         const wire::FerryProcess& extra) {
    if (static_cast<std::uint32_t>(from.vmas_size()) > limits::kVmasMax) {
        return fail(Error::limit(fmt::format("{} mappings", from.vmas_size())));
    }
    model::AddressSpace space;
    space.layout = TRY(layout_from_wire(from, extra));
    space.exe_file = from.exe_file_id();
    if (from.has_dumpable()) space.dumpable = from.dumpable();
    space.thp_disabled = from.thp_disabled();
    std::vector<std::uint64_t> cuts(extra.mapping_cuts().begin(), extra.mapping_cuts().end());
    std::sort(cuts.begin(), cuts.end());
    if (cuts.size() > 16) return fail(Error::corrupt("too many cut mappings"));
    std::map<std::uint64_t, std::string> names;
    for (const wire::FerryVmaName& name : extra.vma_names()) {
        if (name.name().size() > kVmaNameMax) return fail(Error::corrupt("a mapping's name"));
        names[name.start()] = name.name();
    }
    const std::set<std::uint64_t> of_shared(extra.private_of_shared().begin(),
                                            extra.private_of_shared().end());
    for (const wire::VmaEntry& entry : from.vmas()) {
        if ((entry.status() & kGuard) != 0) {
            space.guards.push_back({{entry.start()}, {entry.end()}});
            continue;
        }
        Vma vma = TRY(vma_from_wire(entry));
        if (of_shared.contains(entry.start())) TRY(make_private_of_shared(entry, vma));
        add_cut(std::move(vma), cuts, space.vmas);
    }
    for (Vma& vma : space.vmas) {
        // No field tells the stack apart; it is where the program's first frame lies.
        vma.is_stack =
            vma.kind == VmaKind::Anonymous && vma.range.contains({space.layout.start_stack});
        const auto name = names.find(vma.range.start.value);
        if (name != names.end()) vma.name = name->second;
    }
    return space;
}

}  // namespace ferry::image
