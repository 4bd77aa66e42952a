#include "container/tmpfs_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/check.h"
#include "base/limits.h"

namespace ferry::container {
namespace {

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr const char* kSocketMark = "ferry.socket";

using Writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using Header = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

Header new_header() {
    return {archive_entry_new(), &archive_entry_free};
}

Error explain(archive* archive, std::string_view path) {
    const char* text = archive_error_string(archive);
    return Error::corrupt(fmt::format("tmpfs archive: {}: {}", path, text == nullptr ? "?" : text));
}

la_ssize_t append(archive* /*archive*/, void* into, const void* bytes, std::size_t size) {
    static_cast<std::string*>(into)->append(static_cast<const char*>(bytes), size);
    return static_cast<la_ssize_t>(size);
}

std::string in_directory(const std::string& directory, std::string_view name) {
    return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

std::string whiteout_of(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    return path.substr(0, name) + std::string(kWhiteout) + path.substr(name);
}

constexpr std::array kTypes = {AE_IFREG, AE_IFREG, AE_IFDIR, AE_IFLNK,
                               AE_IFCHR, AE_IFBLK, AE_IFIFO, AE_IFREG};

Header header_of(const TmpfsEntry& entry) {
    Header header = new_header();
    archive_entry* to = header.get();
    archive_entry_set_pathname(to, entry.path.c_str());
    archive_entry_set_filetype(to, kTypes[static_cast<std::size_t>(entry.kind)]);
    archive_entry_set_perm(to, entry.mode);
    archive_entry_set_uid(to, entry.user);
    archive_entry_set_gid(to, entry.group);
    archive_entry_set_mtime(to, entry.modified.tv_sec, entry.modified.tv_nsec);
    archive_entry_set_atime(to, entry.accessed.tv_sec, entry.accessed.tv_nsec);
    archive_entry_set_size(to, 0);
    for (const auto& [name, value] : entry.attributes) {
        archive_entry_xattr_add_entry(to, name.c_str(), value.data(), value.size());
    }
    if (entry.kind == EntryKind::Socket) archive_entry_xattr_add_entry(to, kSocketMark, "", 0);
    if (entry.kind == EntryKind::HardLink) archive_entry_set_hardlink(to, entry.target.c_str());
    if (entry.kind == EntryKind::Symlink) archive_entry_set_symlink(to, entry.target.c_str());
    archive_entry_set_rdevmajor(to, ::major(entry.device));
    archive_entry_set_rdevminor(to, ::minor(entry.device));
    if (entry.kind != EntryKind::File) return header;
    archive_entry_set_size(to, static_cast<la_int64_t>(entry.size));
    std::uint64_t data = 0;
    for (const Extent& extent : entry.extents) data += extent.bytes.size();
    if (data == entry.size) return header;
    for (const Extent& extent : entry.extents) {
        archive_entry_sparse_add_entry(to, static_cast<la_int64_t>(extent.offset),
                                       static_cast<la_int64_t>(extent.bytes.size()));
    }
    // All hole: an end without length keeps the library from writing the zeros.
    if (entry.extents.empty()) {
        archive_entry_sparse_add_entry(to, static_cast<la_int64_t>(entry.size), 0);
    }
    return header;
}

Result<> write_bytes(archive* writer, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const la_ssize_t written = archive_write_data(writer, bytes.data(), bytes.size());
        if (written <= 0) return fail(explain(writer, path));
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

// The library wants a sparse file's holes too, and drops them.
Result<> write_hole(archive* writer, std::uint64_t bytes, const std::string& path) {
    static constexpr std::array<char, 65536> kZeros = {};
    while (bytes > 0) {
        const std::size_t part = std::min<std::uint64_t>(bytes, kZeros.size());
        TRY(write_bytes(writer, {kZeros.data(), part}, path));
        bytes -= part;
    }
    return {};
}

Result<> write_entry(archive* writer, const TmpfsEntry& entry) {
    if (archive_write_header(writer, header_of(entry).get()) != ARCHIVE_OK) {
        return fail(explain(writer, entry.path));
    }
    std::uint64_t at = 0;
    for (const Extent& extent : entry.extents) {
        TRY(write_hole(writer, extent.offset - at, entry.path));
        TRY(write_bytes(writer, extent.bytes, entry.path));
        at = extent.offset + extent.bytes.size();
    }
    return entry.kind == EntryKind::File ? write_hole(writer, entry.size - at, entry.path)
                                         : Result<>();
}

Result<EntryKind> kind_of(archive_entry* header) {
    if (archive_entry_hardlink(header) != nullptr) return EntryKind::HardLink;
    switch (archive_entry_filetype(header)) {
        case AE_IFREG:
            return EntryKind::File;
        case AE_IFDIR:
            return EntryKind::Directory;
        case AE_IFLNK:
            return EntryKind::Symlink;
        case AE_IFCHR:
            return EntryKind::CharacterDevice;
        case AE_IFBLK:
            return EntryKind::BlockDevice;
        case AE_IFIFO:
            return EntryKind::Fifo;
        default:
            return fail(Error::corrupt("tmpfs archive: an entry of unknown type"));
    }
}

void read_attributes(archive_entry* header, TmpfsEntry& entry) {
    archive_entry_xattr_reset(header);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    while (archive_entry_xattr_next(header, &name, &value, &size) == ARCHIVE_OK) {
        if (std::string_view(name) == kSocketMark) {
            entry.kind = EntryKind::Socket;
        } else {
            entry.attributes.emplace_back(name, std::string(static_cast<const char*>(value), size));
        }
    }
    std::ranges::sort(entry.attributes);
}

std::string text_of(const char* text) {
    return text == nullptr ? std::string() : std::string(text);
}

Result<TmpfsEntry> entry_of(archive_entry* header) {
    TmpfsEntry entry;
    entry.path = text_of(archive_entry_pathname(header));
    while (entry.path.ends_with('/')) entry.path.pop_back();
    entry.kind = TRY(kind_of(header));
    entry.mode = archive_entry_perm(header);
    entry.user = static_cast<uid_t>(archive_entry_uid(header));
    entry.group = static_cast<gid_t>(archive_entry_gid(header));
    entry.modified = {archive_entry_mtime(header), archive_entry_mtime_nsec(header)};
    entry.accessed = {archive_entry_atime(header), archive_entry_atime_nsec(header)};
    if (entry.kind == EntryKind::HardLink) entry.target = text_of(archive_entry_hardlink(header));
    if (entry.kind == EntryKind::Symlink) entry.target = text_of(archive_entry_symlink(header));
    entry.device = ::makedev(static_cast<unsigned>(archive_entry_rdevmajor(header)),
                             static_cast<unsigned>(archive_entry_rdevminor(header)));
    read_attributes(header, entry);
    const bool bad_link = entry.kind == EntryKind::HardLink && !files::stays_inside(entry.target);
    if (!files::stays_inside(entry.path) || bad_link) {
        return fail(Error::corrupt(fmt::format("tmpfs archive: the name \"{}\"", entry.path)));
    }
    const la_int64_t size = entry.kind == EntryKind::File ? archive_entry_size(header) : 0;
    if (size < 0 || static_cast<std::uint64_t>(size) > limits::kTmpfsFileSizeMax) {
        return fail(Error::limit(fmt::format("tmpfs file {} of {} bytes", entry.path, size)));
    }
    entry.size = static_cast<std::uint64_t>(size);
    return entry;
}

Result<> read_extents(archive* reader, TmpfsEntry& entry) {
    std::uint64_t at = 0;
    for (;;) {
        const void* bytes = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        const int result = archive_read_data_block(reader, &bytes, &size, &offset);
        if (result == ARCHIVE_EOF) return {};
        if (result != ARCHIVE_OK) return fail(explain(reader, entry.path));
        if (size == 0) continue;
        const auto begin = static_cast<std::uint64_t>(offset);
        if (offset < 0 || begin < at || begin > entry.size || size > entry.size - begin) {
            return fail(
                Error::corrupt(fmt::format("tmpfs archive: {}: bytes beyond its end", entry.path)));
        }
        const char* text = static_cast<const char*>(bytes);
        if (!entry.extents.empty() && begin == at) {
            entry.extents.back().bytes.append(text, size);
        } else {
            entry.extents.push_back({.offset = begin, .bytes = std::string(text, size)});
        }
        at = begin + size;
    }
}

// Into where it belongs: whiteouts are no entries.
void take(TmpfsEntry entry, TmpfsChange& change) {
    const auto slash = entry.path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    const std::string_view last = std::string_view(entry.path).substr(name);
    if (last == kOpaque) {
        change.cleared.push_back(entry.path.substr(0, name == 0 ? 0 : name - 1));
    } else if (last.starts_with(kWhiteout)) {
        change.removed.push_back(entry.path.substr(0, name) +
                                 std::string(last.substr(kWhiteout.size())));
    } else {
        change.entries.push_back(std::move(entry));
    }
}

}  // namespace

Result<std::string> encode_tmpfs(const TmpfsChange& change) {
    std::string out;
    const Writer writer(archive_write_new(), &archive_write_free);
    CHECK(writer != nullptr);
    archive_write_set_format_pax(writer.get());
    // Else each attribute is written twice, the other time in base64.
    archive_write_set_format_option(writer.get(), "pax", "xattrheader", "SCHILY");
    archive_write_set_bytes_per_block(writer.get(), 0);
    if (archive_write_open(writer.get(), &out, nullptr, &append, nullptr) != ARCHIVE_OK) {
        return fail(explain(writer.get(), "begin"));
    }
    const auto mark = [&writer](std::string path) {
        TmpfsEntry entry;
        entry.path = std::move(path);
        return write_entry(writer.get(), entry);
    };
    for (const std::string& directory : change.cleared) {
        TRY(mark(in_directory(directory, kOpaque)));
    }
    for (const std::string& path : change.removed) TRY(mark(whiteout_of(path)));
    for (const TmpfsEntry& entry : change.entries) TRY(write_entry(writer.get(), entry));
    if (archive_write_close(writer.get()) != ARCHIVE_OK) return fail(explain(writer.get(), "end"));
    return out;
}

Result<TmpfsChange> decode_tmpfs(std::string_view archive) {
    const Reader reader(archive_read_new(), &archive_read_free);
    CHECK(reader != nullptr);
    archive_read_support_format_tar(reader.get());
    if (archive_read_open_memory(reader.get(), archive.data(), archive.size()) != ARCHIVE_OK) {
        return fail(explain(reader.get(), "begin"));
    }
    TmpfsChange change;
    for (std::size_t count = 0;; ++count) {
        if (count > limits::kTmpfsEntriesMax) {
            return fail(Error::limit(
                fmt::format("more than {} files in tmpfs mounts", limits::kTmpfsEntriesMax)));
        }
        archive_entry* header = nullptr;
        const int result = archive_read_next_header(reader.get(), &header);
        if (result == ARCHIVE_EOF) return change;
        if (result != ARCHIVE_OK) return fail(explain(reader.get(), "header"));
        TmpfsEntry entry = TRY(entry_of(header));
        TRY(read_extents(reader.get(), entry));
        take(std::move(entry), change);
    }
}

}  // namespace ferry::container
