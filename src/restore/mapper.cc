#include "restore/mapper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <variant>

#include "base/check.h"
#include "os/scope.h"
#include "os/socket.h"
#include "resources/memfd.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

namespace ferry::restore {
namespace {

using model::VmaKind;

// Files of one program travel in one message.
constexpr std::size_t kFilesPerProgram = os::kScmFdsMax;
// What receiving them takes, beside their numbers.
constexpr std::size_t kReceiveBytes = 512;
// The kernel allows 80 with the closing NUL (ANON_VMA_NAME_MAX_LEN).
constexpr std::size_t kNameBytesMax = 80;

Result<os::UniqueFd> open_mapped_file(const model::Checkpoint& checkpoint, const MappedVma& mapped,
                                      int root) {
    const model::OpenFile* file = checkpoint.find_file(mapped.vma.file);
    CHECK(file != nullptr);  // wanted_mappings() looked
    const auto& regular = std::get<model::RegularFile>(file->body);
    const bool is_shared = mapped.vma.kind == VmaKind::FileShared;
    const int access = is_shared ? static_cast<int>(file->flags & O_ACCMODE) : O_RDONLY;
    const os::RootScope there = TRY(os::RootScope::enter(root));
    auto opened = os::open(regular.path, access == O_WRONLY ? O_RDWR : access);
    if (!opened) {
        return fail(Error::invalid(
            fmt::format("mapped file {}: {}", regular.path, opened.error().message())));
    }
    const struct stat have = TRY(os::fstat(opened->get()));
    if (!is_shared && regular.size && *regular.size != static_cast<std::uint64_t>(have.st_size)) {
        return fail(Error::invalid(fmt::format("mapped file {} has {} bytes here, {} at the source",
                                               regular.path, have.st_size, *regular.size)));
    }
    return std::move(*opened);
}

int map_flags(const MappedVma& mapped) {
    int flags = MAP_FIXED_NOREPLACE;
    const bool is_shared =
        mapped.vma.kind == VmaKind::FileShared || mapped.vma.kind == VmaKind::AnonShared;
    flags |= is_shared ? MAP_SHARED : mapped.vma.droppable ? MAP_DROPPABLE : MAP_PRIVATE;
    if (mapped.vma.kind == VmaKind::Anonymous) flags |= MAP_ANONYMOUS;
    if (mapped.vma.grows_down) flags |= MAP_GROWSDOWN;
    if (mapped.vma.no_reserve) flags |= MAP_NORESERVE;
    return flags;
}

// Adds the steps of a plan to programs and runs them, with the files they need.
class Mapper {
  public:
    // `aside`: room for the largest segment.
    Mapper(Tree& tree, StubProcess& process, const model::Checkpoint& checkpoint, RemoteAddr aside)
        : process_(process), tree_(tree), aside_(aside), checkpoint_(checkpoint) {}

    Result<> take(std::span<const LayoutStep> steps) {
        for (const LayoutStep& step : steps) {
            if (step.target.vma.name.size() > kNameBytesMax) {
                return fail(Error::corrupt(fmt::format("the name of {} is too long", step.range)));
            }
            if (bytes_ + bytes_of(step) > process_.leader().capacity() ||
                files_.size() == kFilesPerProgram) {
                TRY(run());
            }
            TRY(note_file(step));
            pending_.push_back(&step);
            bytes_ += bytes_of(step);
        }
        return run();
    }

  private:
    // What is mapped: a private mapping of a file needs no right to write.
    using Key = std::pair<VmaKind, std::uint64_t>;
    static Key key(const model::Vma& vma) {
        return {vma.kind, vma.maps_anonymous_object() ? vma.shared_id : vma.file};
    }

    // At most, in a program.
    static std::size_t bytes_of(const LayoutStep& step) {
        constexpr std::size_t kFileBytes = sizeof(abi::Op) + sizeof(int);  // close, and its number
        switch (step.kind) {
            case LayoutStep::Kind::Unmap:
            case LayoutStep::Kind::Protect:
                return sizeof(abi::Op);
            case LayoutStep::Kind::Map:
                // A segment takes up to five calls (attach()).
                return model::is_segment(step.target.vma.shared_id) ? 5 * sizeof(abi::Op)
                                                                    : sizeof(abi::Op) + kFileBytes;
            case LayoutStep::Kind::Advise:
                return step.advice.size() * sizeof(abi::Op);
            case LayoutStep::Kind::Name:
                return sizeof(abi::Op) + kNameBytesMax + 1;
        }
        return 0;
    }

    Result<> note_file(const LayoutStep& step) {
        if (step.kind != LayoutStep::Kind::Map) return {};
        if (step.target.vma.kind == VmaKind::Anonymous) return {};
        if (model::is_segment(step.target.vma.shared_id)) return {};
        const auto id = key(step.target.vma);
        if (file_index_.contains(id)) return {};
        files_.push_back(TRY(open(step.target)));
        file_index_[id] = files_.size() - 1;
        return {};
    }

    Result<os::UniqueFd> open(const MappedVma& mapped) const {
        if (mapped.vma.maps_anonymous_object()) {
            return os::dup(tree_.shared_memory().fd(mapped.vma.shared_id));
        }
        const model::OpenFile* file = checkpoint_.find_file(mapped.vma.file);
        CHECK(file != nullptr);  // wanted_mappings() looked
        if (const auto* memory = std::get_if<model::MemoryFile>(&file->body)) {
            const std::uint32_t how = file->flags & O_ACCMODE;
            return resources::open_memfd(
                *memory, tree_.shared_memory().fd(memory->inode), how,
                how == O_RDWR ? resources::MemfdFile::Original : resources::MemfdFile::Another);
        }
        if (mapped.ghost == 0) {
            return open_mapped_file(checkpoint_, mapped, tree_.root_directory());
        }
        CHECK(tree_.open_ghost() != nullptr);
        return tree_.open_ghost()(checkpoint_, mapped.vma.file);
    }

    Result<> run() {
        if (pending_.empty()) return {};
        Program program;
        std::vector<int> fds;
        for (const os::UniqueFd& file : files_) fds.push_back(file.get());
        std::optional<Receiver> received;
        if (!fds.empty()) {
            received.emplace(program, process_.leader().socket_number(), fds.size());
        }
        for (const LayoutStep* step : pending_) add(program, *step, received);
        for (std::size_t i = 0; i < fds.size(); ++i) {
            program.call("close", SYS_close, {received->fd(i)});
        }
        TRY(process_.leader().run(program, fds));
        pending_.clear();
        bytes_ = kReceiveBytes;
        files_.clear();
        file_index_.clear();
        return {};
    }

    void add(Program& program, const LayoutStep& step, const std::optional<Receiver>& received) {
        const AddrRange range = step.range;
        const model::Vma& vma = step.target.vma;
        switch (step.kind) {
            case LayoutStep::Kind::Unmap:
                program.call("munmap", SYS_munmap, {range.start, range.size()});
                return;
            case LayoutStep::Kind::Map: {
                if (model::is_segment(vma.shared_id)) return attach(program, step.target);
                const bool has_file = vma.kind != VmaKind::Anonymous;
                const Argument fd =
                    has_file ? Argument(received->fd(file_index_.at(key(vma)))) : Argument(-1);
                program.call(vma.droppable ? "mmap(MAP_DROPPABLE)" : "mmap", SYS_mmap,
                             {range.start, range.size(), vma.protection, map_flags(step.target), fd,
                              has_file ? vma.file_offset : 0},
                             exactly(static_cast<std::int64_t>(range.start.value)));
                return;
            }
            case LayoutStep::Kind::Protect:
                program.call("mprotect", SYS_mprotect, {range.start, range.size(), vma.protection});
                return;
            case LayoutStep::Kind::Advise:
                // Advice is a hint: a kernel without huge pages or KSM refuses it.
                for (const int advice : step.advice) {
                    program.call("madvise", SYS_madvise, {range.start, range.size(), advice},
                                 kAnything);
                }
                return;
            case LayoutStep::Kind::Name:
                // Without CONFIG_ANON_VMA_NAME names are not shown either.
                program.call("prctl", SYS_prctl,
                             {PR_SET_VMA, PR_SET_VMA_ANON_NAME, range.start, range.size(),
                              vma.name.empty() ? Argument(0) : program.add_text(vma.name)},
                             kAnything);
                return;
        }
    }

    // A part of a segment is attached with the whole, elsewhere, and moved: so the kernel counts it
    // as a mapping of the segment.
    void attach(Program& program, const MappedVma& mapped) {
        const AddrRange range = mapped.vma.range;
        const auto id = static_cast<std::int32_t>(mapped.vma.shared_id & ~model::kSegmentIds);
        const std::uint64_t bytes = bytes_of_segment(id);
        const std::uint64_t before = mapped.vma.file_offset;
        const std::uint64_t after = bytes - before - range.size();
        const RemoteAddr whole = range.size() == bytes ? range.start : aside_;
        program.call("shmat", SYS_shmat,
                     {id, whole, mapped.vma.attached_for_reading ? SHM_RDONLY : 0},
                     exactly(static_cast<std::int64_t>(whole.value)));
        if (whole != range.start) {
            program.call("mremap", SYS_mremap,
                         {whole + before, range.size(), range.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                          range.start},
                         exactly(static_cast<std::int64_t>(range.start.value)));
            if (before > 0) program.call("munmap", SYS_munmap, {whole, before});
            if (after > 0) {
                program.call("munmap", SYS_munmap, {whole + (before + range.size()), after});
            }
        }
        program.call("mprotect", SYS_mprotect, {range.start, range.size(), mapped.vma.protection});
    }

    [[nodiscard]] std::uint64_t bytes_of_segment(std::int32_t id) const {
        const auto segment = std::ranges::find(
            checkpoint_.ipc->segments, id, [](const model::IpcSegment& s) { return s.object.id; });
        CHECK(segment != checkpoint_.ipc->segments.end());  // a checkpoint has been validated
        return page_align_up(segment->bytes);
    }

    StubProcess& process_;
    Tree& tree_;
    RemoteAddr aside_;  // room for the largest segment, if there are any
    const model::Checkpoint& checkpoint_;
    std::vector<const LayoutStep*> pending_;
    std::size_t bytes_ = kReceiveBytes;  // of the program that they make
    std::vector<os::UniqueFd> files_;
    std::map<Key, std::size_t> file_index_;
};

std::vector<AddrRange> places_of(const model::Process& wanted, VmaKind kind) {
    std::vector<AddrRange> places;
    for (const model::Vma& vma : wanted.address_space.vmas) {
        if (vma.kind == kind) places.push_back(vma.range);
    }
    return places;
}

// CRIU's images hold [vvar] and [vvar_vclock], which lie side by side, as one mapping: cuts it
// where ours are cut. Leaves anything else as it is.
std::vector<AddrRange> cut_as_ours(std::vector<AddrRange> data,
                                   const std::vector<std::uint64_t>& ours) {
    const std::uint64_t total = std::accumulate(ours.begin(), ours.end(), std::uint64_t{0});
    if (data.size() != 1 || data.front().size() != total) return data;
    std::vector<AddrRange> cut;
    RemoteAddr start = data.front().start;
    for (const std::uint64_t bytes : ours) {
        cut.push_back({start, start + bytes});
        start = start + bytes;
    }
    return cut;
}

// The target's places for [vvar]..., then [vdso], in the order of ParkedVdso.
std::vector<AddrRange> vdso_places(const Tree& tree, const model::Process& wanted) {
    std::vector<AddrRange> places =
        cut_as_ours(places_of(wanted, VmaKind::Vvar), tree.vdso().data_bytes);
    for (const AddrRange& text : places_of(wanted, VmaKind::Vdso)) places.push_back(text);
    return places;
}

// Where the largest segment can be for a moment.
Result<RemoteAddr> room_aside(Tree& tree, std::span<const MappedVma> now,
                              std::span<const MappedVma> wanted,
                              const model::Checkpoint& checkpoint) {
    if (!checkpoint.ipc || checkpoint.ipc->segments.empty()) return RemoteAddr{};
    std::uint64_t bytes = 0;
    for (const model::IpcSegment& segment : checkpoint.ipc->segments) {
        bytes = std::max(bytes, page_align_up(segment.bytes));
    }
    std::vector<AddrRange> used = {tree.arena().hole()};
    for (const auto list : {now, wanted}) {
        for (const MappedVma& mapped : list) used.push_back(mapped.vma.range);
    }
    return find_hole(std::move(used), bytes);
}

}  // namespace

Result<> check_vdso(const Tree& tree, const model::Process& wanted) {
    const std::vector<AddrRange> places = vdso_places(tree, wanted);
    if (places.empty()) return {};
    std::vector<std::uint64_t> sizes = tree.vdso().data_bytes;
    sizes.push_back(tree.vdso().text_bytes);
    const bool same =
        std::ranges::equal(places, sizes, {}, [](const AddrRange& range) { return range.size(); });
    if (same) return {};
    return fail(Error::unsupported(
        fmt::format("process {} comes from a kernel with another vdso layout", wanted.pid)));
}

Result<> apply_layout(Tree& tree, StubProcess& process, const model::Checkpoint& checkpoint,
                      const model::Process& wanted) {
    std::vector<MappedVma> target = TRY(wanted_mappings(checkpoint, wanted));
    for (const model::Vma& vma : wanted.address_space.vmas) {
        if (!vma.range.overlaps(tree.arena().hole())) continue;
        return fail(Error::unsupported(
            fmt::format("process {} mapped {} where the stub's code lies", wanted.pid, vma.range)));
    }
    const std::vector<LayoutStep> steps = plan_layout(process.mapped, target);
    const RemoteAddr aside = TRY(room_aside(tree, process.mapped, target, checkpoint));
    TRY(with_context(Mapper(tree, process, checkpoint, aside).take(steps),
                     fmt::format("mappings of process {}", wanted.pid)));
    process.mapped = std::move(target);
    return {};
}

Result<> finish_layout(Tree& tree, StubProcess& process, const model::Process& wanted) {
    TRY(check_vdso(tree, wanted));
    Program program;
    RemoteAddr parked = tree.arena().park();
    for (const AddrRange& place : vdso_places(tree, wanted)) {
        program.call(
            "mremap", SYS_mremap,
            {parked, place.size(), place.size(), MREMAP_MAYMOVE | MREMAP_FIXED, place.start},
            exactly(static_cast<std::int64_t>(place.start.value)));
        parked = parked + place.size();
    }
    // Before mlock(2), after which they are refused.
    std::span<const AddrRange> guards = wanted.address_space.guards;
    for (const AddrRange& guard : guards) {
        program.call("madvise(MADV_GUARD_INSTALL)", SYS_madvise,
                     {guard.start, guard.size(), MADV_GUARD_INSTALL});
        TRY(process.leader().run_if_full(program));
    }
    for (const MappedVma& mapped : process.mapped) {
        const AddrRange range = mapped.vma.range;
        while (!guards.empty() && guards.front().end <= range.start) guards = guards.subspan(1);
        for (const int advice : mapped.vma.advice) {
            if (!is_late_advice(advice)) continue;
            program.call("madvise", SYS_madvise, {range.start, range.size(), advice});
        }
        // With guard pages in it a mapping is locked, and ENOMEM says that not all of it is there.
        const bool is_guarded = !guards.empty() && guards.front().start < range.end;
        if (mapped.vma.locked) {
            program.call("mlock", SYS_mlock, {range.start, range.size()},
                         is_guarded ? kAnything : kSuccess);
        }
        TRY(process.leader().run_if_full(program));
    }
    return process.leader().run_rest(program);
}

}  // namespace ferry::restore
