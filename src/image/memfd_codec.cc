#include "image/memfd_codec.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstddef>
#include <limits>
#include <optional>
#include <string>

#include "base/limits.h"
#include "image/proto/files.pb.h"
#include "image/records.h"

namespace ferry::image {
namespace {

constexpr const char* kName = "memfd.img";
// memfd_create(2).
constexpr std::size_t kMemfdNameMax = 249;
// What memfd_create(2) gives; CRIU before 4.0 wrote no mode.
constexpr std::uint32_t kDefaultMode = S_IFREG | 0777;

Result<model::MemoryFile> from_wire(const wire::MemfdInode& from) {
    if (from.hugetlb_flag() != 0) return fail(Error::unsupported("a memfd of huge pages"));
    const bool sane = from.name().size() <= kMemfdNameMax &&
                      from.name().find('\0') == std::string::npos && from.shmid() != 0;
    if (!sane) return fail(Error::corrupt(fmt::format("{}: inode {}", kName, from.inode_id())));
    if (from.size() > limits::kMemfdBytesMax) {
        return fail(Error::limit(fmt::format("a memfd of {} bytes", from.size())));
    }
    return model::MemoryFile{.inode = from.shmid(),
                             .name = from.name(),
                             .bytes = from.size(),
                             .mode = from.has_mode() ? from.mode() : kDefaultMode,
                             .uid = from.uid(),
                             .gid = from.gid(),
                             .seals = from.seals(),
                             .position = 0,
                             .source = {}};
}

}  // namespace

std::uint32_t MemfdInodes::number_of(const model::MemoryFile& file) {
    const auto next = static_cast<std::uint32_t>(numbers_.size() + 1);
    const std::uint32_t number = numbers_.try_emplace(file.inode, next).first->second;
    files_.insert_or_assign(number, file);
    return number;
}

Result<> MemfdInodes::put(ImageStore& into) const {
    if (files_.empty()) return {};
    RecordWriter writer(Magic::MemfdInode);
    for (const auto& [number, file] : files_) {
        if (file.inode > std::numeric_limits<std::uint32_t>::max()) {
            return fail(Error::limit(fmt::format("memfd {} has inode {}", file.name, file.inode)));
        }
        wire::MemfdInode entry;
        entry.set_name(file.name);
        entry.set_uid(file.uid);
        entry.set_gid(file.gid);
        entry.set_size(file.bytes);
        entry.set_shmid(static_cast<std::uint32_t>(file.inode));
        entry.set_seals(file.seals);
        entry.set_inode_id(number);
        entry.set_mode(file.mode);
        TRY(writer.add(entry));
    }
    return into.put(kName, writer.bytes());
}

Result<MemfdInodes> MemfdInodes::get(const ImageStore& from) {
    MemfdInodes inodes;
    const std::optional<model::Bytes> bytes = TRY(from.get(kName));
    if (!bytes) return inodes;
    RecordReader reader = TRY(RecordReader::open(kName, *bytes, Magic::MemfdInode));
    while (!reader.at_end()) {
        wire::MemfdInode entry;
        TRY(reader.next(entry));
        model::MemoryFile file = TRY(from_wire(entry));
        const auto number = static_cast<std::uint32_t>(entry.inode_id());
        const bool fits = number == entry.inode_id() && inodes.files_.size() < limits::kFilesMax;
        const bool is_new = inodes.numbers_.try_emplace(file.inode, number).second &&
                            inodes.files_.try_emplace(number, std::move(file)).second;
        if (!fits || !is_new) {
            return fail(Error::corrupt(fmt::format("{}: inode {}", kName, entry.inode_id())));
        }
    }
    return inodes;
}

Result<model::MemoryFile> MemfdInodes::file_of(std::uint32_t number) const {
    const auto found = files_.find(number);
    if (found != files_.end()) return found->second;
    return fail(Error::corrupt(fmt::format("{} has no inode {}", kName, number)));
}

}  // namespace ferry::image
