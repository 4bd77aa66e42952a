#include "image/ghost_codec.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>
#include <variant>

#include "base/limits.h"
#include "image/proto/files.pb.h"
#include "image/records.h"
#include "image/time_codec.h"

namespace ferry::image {
namespace {

constexpr const char* kRemapsName = "remap-fpath.img";
constexpr std::uint64_t kMicrosPerSecond = 1'000'000;

std::string ghost_name(std::uint32_t id) {
    return fmt::format("ghost-file-{:x}.img", id);
}

// The kernel's own form of a device number (linux/kdev_t.h); stat(2) has another.
constexpr unsigned kMinorBits = 20;
std::uint32_t to_kernel_device(std::uint64_t device) {
    return major(device) << kMinorBits | minor(device);
}
std::uint64_t from_kernel_device(std::uint32_t device) {
    return makedev(device >> kMinorBits, device & ((1u << kMinorBits) - 1));
}

void time_to_wire(std::uint64_t micros, wire::Timestamp& into) {
    into.set_tv_sec(micros / kMicrosPerSecond);
    into.set_tv_usec(micros % kMicrosPerSecond);
}

Result<> put_ghost(const model::GhostFile& ghost, ImageStore& into) {
    wire::GhostFile header;
    header.set_uid(ghost.uid);
    header.set_gid(ghost.gid);
    header.set_mode(ghost.mode);
    header.set_dev(to_kernel_device(ghost.device));
    header.set_ino(ghost.inode);
    time_to_wire(ghost.access_us, *header.mutable_atim());
    time_to_wire(ghost.modify_us, *header.mutable_mtim());
    if (S_ISREG(ghost.mode)) {
        header.set_chunks(true);
        header.set_size(ghost.size);
    }
    RecordWriter writer(Magic::GhostFile);
    TRY(writer.add(header));
    for (const model::GhostFile::Extent& extent : ghost.extents) {
        wire::GhostChunk chunk;
        chunk.set_len(extent.content.size());
        chunk.set_off(extent.offset);
        TRY(writer.add(chunk));
        writer.add_raw(extent.content);
    }
    return into.put(ghost_name(ghost.id), writer.bytes());
}

Result<> get_chunks(RecordReader& reader, model::GhostFile& into) {
    std::uint64_t last = 0;
    while (!reader.at_end()) {
        wire::GhostChunk chunk;
        TRY(reader.next(chunk));
        const std::uint64_t end = chunk.off() + chunk.len();
        if (chunk.off() < last || end < chunk.off() || end > into.size) {
            return fail(Error::corrupt("a part of an unlinked file lies outside of it"));
        }
        last = end;
        const auto content = TRY(reader.raw(chunk.len()));
        into.extents.push_back(
            {.offset = chunk.off(), .content = {content.begin(), content.end()}});
    }
    return {};
}

Result<model::GhostFile> get_ghost(const ImageStore& from, std::uint32_t id) {
    const std::string name = ghost_name(id);
    const std::optional<model::Bytes> bytes = TRY(from.get(name));
    if (!bytes) return fail(Error::corrupt("there is no " + name));
    RecordReader reader = TRY(RecordReader::open(name, *bytes, Magic::GhostFile));
    wire::GhostFile header;
    TRY(reader.next(header));
    if (!S_ISREG(header.mode()) && !S_ISDIR(header.mode()) && !S_ISFIFO(header.mode())) {
        return fail(Error::unsupported(
            "a deleted file of another kind than regular ones, directories and FIFOs"));
    }
    model::GhostFile ghost = {.id = id,
                              .mode = header.mode(),
                              .uid = header.uid(),
                              .gid = header.gid(),
                              .device = from_kernel_device(header.dev()),
                              .inode = header.ino(),
                              .size = header.size(),
                              .extents = {}};
    ghost.access_us =
        TRY(join_time(header.atim().tv_sec(), header.atim().tv_usec(), kMicrosPerSecond));
    ghost.modify_us =
        TRY(join_time(header.mtim().tv_sec(), header.mtim().tv_usec(), kMicrosPerSecond));
    if (!S_ISREG(header.mode())) {
        ghost.size = 0;
        return ghost;
    }
    if (header.chunks()) {
        TRY(get_chunks(reader, ghost));
        return ghost;
    }
    // One piece, without a record of its own: the rest.
    const std::span<const std::byte> content = reader.rest();
    ghost.size = content.size();
    if (content.empty()) return ghost;
    ghost.extents = {{.offset = 0, .content = {content.begin(), content.end()}}};
    return ghost;
}

Result<model::RegularFile*> regular_of(std::uint32_t id, model::Checkpoint& checkpoint) {
    const auto file = std::ranges::lower_bound(checkpoint.files, id, {}, &model::OpenFile::id);
    const bool found = file != checkpoint.files.end() && file->id == id;
    auto* regular = found ? std::get_if<model::RegularFile>(&file->body) : nullptr;
    if (regular == nullptr) {
        return fail(Error::corrupt(fmt::format("{}: there is no file {}", kRemapsName, id)));
    }
    return regular;
}

}  // namespace

Result<> put_ghosts(const model::Checkpoint& checkpoint,
                    const std::map<model::FileId, model::FileId>& fifos, ImageStore& into) {
    if (checkpoint.ghosts.empty()) return {};
    RecordWriter remaps(Magic::RemapFpath);
    const auto add = [&](model::FileId file, std::uint32_t ghost) -> Result<> {
        if (ghost == 0) return {};
        wire::RemapFilePath remap;
        remap.set_orig_id(file);
        remap.set_remap_id(ghost);
        remap.set_remap_type(wire::REMAP_GHOST);
        return remaps.add(remap);
    };
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* regular = std::get_if<model::RegularFile>(&file.body);
        if (regular != nullptr) TRY(add(file.id, regular->ghost));
        const auto* end = std::get_if<model::PipeEnd>(&file.body);
        if (end != nullptr && end->ghost != 0) TRY(add(fifos.at(file.id), end->ghost));
    }
    TRY(into.put(kRemapsName, remaps.bytes()));
    for (const model::GhostFile& ghost : checkpoint.ghosts) TRY(put_ghost(ghost, into));
    return {};
}

Result<> get_ghosts(const ImageStore& from, model::Checkpoint& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(kRemapsName));
    if (!bytes) return {};
    RecordReader reader = TRY(RecordReader::open(kRemapsName, *bytes, Magic::RemapFpath));
    std::set<std::uint32_t> ghosts;
    while (!reader.at_end()) {
        wire::RemapFilePath remap;
        TRY(reader.next(remap));
        if (!remap.has_remap_type() || remap.remap_type() != wire::REMAP_GHOST) {
            return fail(Error::unsupported(
                fmt::format("file {} was given another name for the dump (--link-remap), or is of "
                            "a process that has ended",
                            remap.orig_id())));
        }
        if (remap.remap_id() == 0) return fail(Error::corrupt("an unlinked file without a number"));
        TRY(regular_of(remap.orig_id(), into))->ghost = remap.remap_id();
        ghosts.insert(remap.remap_id());
    }
    for (const std::uint32_t id : ghosts) {
        into.ghosts.push_back(
            TRY(with_context(get_ghost(from, id), fmt::format("unlinked file {}", id))));
    }
    return {};
}

}  // namespace ferry::image
