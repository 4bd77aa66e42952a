// The files that a tree reaches by a path, known by the same number from one look to the next: what
// its processes map, execute and are in, its memfds, and what descriptors lead to as far as it
// takes long to open. Ghosts (ghost_file.h) among them are numbered here, too.
//
// Used on one thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/files.h"
#include "proc/maps.h"
#include "resources/memfd.h"
#include "resources/regular_file.h"

namespace ferry::resources {

class PathTable {
  public:
    // `next_id` counts all files of the tree and outlives this object.
    PathTable(PathRules rules, model::FileId& next_id)
        : rules_(std::move(rules)), next_id_(&next_id) {}

    // Another look begins: what is not added again is left out of it.
    void begin();
    // As FileCollector's of the same names.
    Result<model::FileId> add_path(const std::string& link, std::uint32_t flags);
    Result<model::FileId> add_mapped(Pid pid, const proc::MapsEntry& line, std::uint32_t flags);
    // What a descriptor with these flags leads to, for the skeleton, if it takes long to open.
    void open_ahead(const PathFile& found, std::uint32_t flags);

    // For a skeleton.
    Result<std::vector<model::OpenFile>> files();
    [[nodiscard]] std::vector<model::GhostFile> ghosts() const;

    // In the freeze: what was added, as it is now, and a procfs link to each ghost among it.
    Result<> collect(std::vector<model::OpenFile>& files,
                     std::map<std::uint32_t, std::string>& ghosts);

    // The number of the ghost that it is; 0: it has its name.
    std::uint32_t ghost_of(const PathFile& file);
    // With that.
    model::RegularFile to_model(const PathFile& file, std::int64_t position);
    MemfdTable& memfds() { return memfds_; }

  private:
    // A file that loses its name becomes another one: its content has to be carried from then on.
    struct Key {
        std::string path;
        std::uint32_t flags = 0;
        std::uint64_t device = 0, inode = 0;
        bool unlinked = false;
        auto operator<=>(const Key&) const = default;
    };
    struct Entry {
        model::OpenFile file;
        struct stat status = {};
        std::string link;  // that led to it last
        bool used = false;
    };
    using Entries = std::map<Key, Entry>;
    // What a line of maps says about a file, and how it is to be opened. All tasks of a tree are in
    // one mount namespace, so equal lines are of equal files.
    using MappedKey =
        std::tuple<std::string, std::uint32_t, std::uint32_t, std::uint64_t, std::uint32_t>;

    Entry& add(Entries& entries, const Key& key, model::FileBody body);

    PathRules rules_;
    model::FileId* next_id_;
    Entries paths_;
    Entries ahead_;                              // what only descriptors lead to
    std::map<MappedKey, model::FileId> mapped_;  // since begin()
    MemfdTable memfds_;
    std::map<std::uint64_t, model::FileId> memfd_ids_;  // for skeletons, by inode
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> ghost_ids_;
};

}  // namespace ferry::resources
