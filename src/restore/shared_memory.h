// Memory that processes share without a file, memfds among it: made here, mapped into stubs by
// descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "resources/segment.h"

namespace ferry::restore {

class SharedMemories {
  public:
    // Before follow(): the tree has an IPC namespace of its own (os/scope.h), which stays the
    // caller's.
    void live_in(int ipc) { ipc_ = ipc; }
    // Makes the objects that the checkpoint's mappings need and that are not here yet, lets the
    // others grow, and forgets those that it does not need. Needs CAP_CHECKPOINT_RESTORE
    // (/proc/self/map_files).
    Result<> follow(const model::Checkpoint& checkpoint);
    // -1 unless follow() has made it; stays ours.
    [[nodiscard]] int fd(std::uint64_t id) const;
    // All content and all mappings are in: memfds get their sizes, owners and seals, segments their
    // owners.
    Result<> finish(const model::Checkpoint& checkpoint);
    // Corrupt: outside of the object.
    Result<> write(std::uint64_t id, std::uint64_t offset, std::span<const std::byte> bytes);
    // Makes zeros of them and frees their memory. Corrupt: outside of the object.
    Result<> drop(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes);

  private:
    struct Object {
        os::UniqueFd fd;
        std::uint64_t bytes = 0;
        std::optional<resources::NewSegment> segment;
    };
    Result<> forget(const std::vector<model::SharedMemory>& wanted);
    Result<Object> make(const model::SharedMemory& memory) const;
    Result<int> place(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes) const;

    int ipc_ = -1;
    std::map<std::uint64_t, Object> objects_;
};

}  // namespace ferry::restore
