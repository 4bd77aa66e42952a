// Unlinked regular files, directories and FIFOs ("ghosts"): content, owner, mode and times are
// carried, holes stay holes. At the destination such a file is made in the directory that its name
// was in, without a name (O_TMPFILE), so that nothing is left behind whatever happens; it gets its
// old name for a moment where that is free, so that /proc goes on showing it. Directories and FIFOs
// can only be made with a name: their old one, or another for that moment. Not carried: extended
// attributes.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"

namespace ferry::resources {

// As CRIU's --ghost-limit.
inline constexpr std::uint64_t kGhostBytesDefault = 1 << 20;

// Unsupported, with the option to use, where the file fills more than `bytes_max` on its disk.
// `what` says for messages who holds it, and its path.
Result<> check_ghost_size(const struct stat& status, std::uint64_t bytes_max,
                          const std::string& what);

// Everything but its content, as a skeleton needs it.
[[nodiscard]] model::GhostFile outline_ghost(const struct stat& status, std::uint32_t id);

// The whole file, while nobody writes to it. `link` is a procfs link that leads to it. Errors as of
// check_ghost_size; Gone: there is no such link any more.
Result<model::GhostFile> read_ghost(const std::string& link, std::uint32_t id,
                                    std::uint64_t bytes_max, const std::string& what);

// The ghosts of a checkpoint as files of this host. The destructor closes them, which ends those
// that nobody else has open.
class GhostFiles {
  public:
    // Makes one that is not there yet: with its size, still without content. Paths are those of
    // `root` (os::RootScope). Corrupt: the checkpoint has none of this id.
    Result<> prepare(const model::Checkpoint& checkpoint, std::uint32_t id, int root);
    // Content, owner, mode and times of all, which prepare() must have made.
    Result<> finish(const model::Checkpoint& checkpoint);
    // A new description of one, opened as `flags` (F_GETFL) say. Corrupt: there is no such ghost.
    [[nodiscard]] Result<os::UniqueFd> open(std::uint32_t id, std::uint32_t flags) const;
    // A path of ours that leads to one, as long as this has it. Corrupt: as of open().
    [[nodiscard]] Result<std::string> path_to(std::uint32_t id) const;
    // When the tree has its own descriptors of all FIFOs: ours are ends as well.
    void close_fifos();

  private:
    // Read-only, but for FIFOs: the kernel lets nobody execute a file that is open for writing
    // (ETXTBSY).
    std::map<std::uint32_t, os::UniqueFd> files_;
};

}  // namespace ferry::resources
