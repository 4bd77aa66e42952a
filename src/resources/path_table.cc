#include "resources/path_table.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "os/fd.h"
#include "proc/process_directory.h"
#include "resources/ghost_file.h"

namespace ferry::resources {

void PathTable::begin() {
    for (auto& [key, entry] : paths_) entry.used = false;
    std::erase_if(ahead_, [](const auto& known) { return !known.second.used; });
    for (auto& [key, entry] : ahead_) entry.used = false;
    mapped_.clear();
    memfds_.begin();
}

PathTable::Entry& PathTable::add(Entries& entries, const Key& key, model::FileBody body) {
    Entry& entry = entries[key];
    if (entry.file.id == 0) entry.file.id = (*next_id_)++;
    entry.used = true;
    entry.file.flags = key.flags;
    entry.file.body = std::move(body);
    return entry;
}

Result<model::FileId> PathTable::add_path(const std::string& link, std::uint32_t flags) {
    if (const auto target = os::readlinkat(os::kCwd, link); target && is_memfd(*target)) {
        model::MemoryFile file = TRY(memfds_.note(link, link));
        const Key key = {*target, flags, 0, file.inode, false};
        return add(paths_, key, std::move(file)).file.id;
    }
    const PathFile found = TRY(inspect_path(link, link, rules_));
    const Key key = {found.path, flags, found.status.st_dev, found.status.st_ino, found.unlinked};
    Entry& entry = add(paths_, key, to_model(found, 0));
    entry.status = found.status;
    entry.link = link;
    return entry.file.id;
}

Result<model::FileId> PathTable::add_mapped(Pid pid, const proc::MapsEntry& line,
                                            std::uint32_t flags) {
    // An unlinked file is reached by the link of a process that may have ended by then.
    const MappedKey key = {line.path, line.device_major, line.device_minor, line.inode, flags};
    if (const auto known = mapped_.find(key); known != mapped_.end()) return known->second;
    const model::FileId id = TRY(add_path(proc::mapped_file(pid, line.range), flags));
    if (!line.deleted) mapped_.emplace(key, id);
    return id;
}

// To make an unlinked file takes the destination milliseconds; so does, on an overlay, the first
// opening for writing, which copies the file up.
void PathTable::open_ahead(const PathFile& found, std::uint32_t flags) {
    const bool is_slow = found.unlinked || (flags & O_ACCMODE) != O_RDONLY;
    if (!is_slow || !S_ISREG(found.status.st_mode) || found.is_message_queue) return;
    const Key key = {found.path, flags, found.status.st_dev, found.status.st_ino, found.unlinked};
    add(ahead_, key, to_model(found, 0)).status = found.status;
}

Result<std::vector<model::OpenFile>> PathTable::files() {
    std::vector<model::OpenFile> files;
    for (const Entries* entries : {&paths_, &ahead_}) {
        for (const auto& [key, entry] : *entries) {
            if (entry.used) files.push_back(entry.file);
        }
    }
    for (model::MemoryFile& file : TRY(memfds_.all())) {
        model::FileId& id = memfd_ids_[file.inode];
        if (id == 0) id = (*next_id_)++;
        files.push_back({.id = id, .flags = O_RDWR, .owner = {}, .body = std::move(file)});
    }
    std::ranges::sort(files, {}, &model::OpenFile::id);
    return files;
}

std::vector<model::GhostFile> PathTable::ghosts() const {
    std::map<std::uint32_t, model::GhostFile> ghosts;
    for (const Entries* entries : {&paths_, &ahead_}) {
        for (const auto& [key, entry] : *entries) {
            const auto* body = std::get_if<model::RegularFile>(&entry.file.body);
            if (!entry.used || body == nullptr || body->ghost == 0) continue;
            ghosts.try_emplace(body->ghost, outline_ghost(entry.status, body->ghost));
        }
    }
    std::vector<model::GhostFile> result;
    for (auto& [id, ghost] : ghosts) result.push_back(std::move(ghost));
    return result;
}

Result<> PathTable::collect(std::vector<model::OpenFile>& files,
                            std::map<std::uint32_t, std::string>& ghosts) {
    for (auto& [key, entry] : paths_) {
        if (!entry.used) continue;
        if (std::holds_alternative<model::MemoryFile>(entry.file.body)) {
            entry.file.body = TRY(memfds_.now(key.inode));
            files.push_back(entry.file);
            continue;
        }
        auto& body = std::get<model::RegularFile>(entry.file.body);
        const struct stat status =
            TRY(os::fstatat(os::kCwd, key.unlinked ? entry.link : rules_.root + key.path));
        if (status.st_dev != key.device || status.st_ino != key.inode) {
            return fail(Error::unsupported(
                fmt::format("{} was replaced while the tree was looked at", key.path)));
        }
        if (body.size) body.size = static_cast<std::uint64_t>(status.st_size);
        if (body.ghost != 0) ghosts.try_emplace(body.ghost, entry.link);
        files.push_back(entry.file);
    }
    return {};
}

model::RegularFile PathTable::to_model(const PathFile& file, std::int64_t position) {
    model::RegularFile regular = to_regular_file(file, position);
    regular.ghost = ghost_of(file);
    return regular;
}

std::uint32_t PathTable::ghost_of(const PathFile& file) {
    if (!file.unlinked) return 0;
    const auto next = static_cast<std::uint32_t>(ghost_ids_.size() + 1);
    return ghost_ids_.try_emplace({file.status.st_dev, file.status.st_ino}, next).first->second;
}

}  // namespace ferry::resources
