// Memory that processes share without a file, memfds among it: made here, mapped into stubs by
// descriptor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"

namespace ferry::restore {

class SharedMemories {
  public:
    // Makes the objects that the checkpoint's mappings need and that are not here yet, lets the
    // others grow, and forgets those that it does not need. Needs CAP_CHECKPOINT_RESTORE
    // (/proc/self/map_files).
    Result<> follow(const model::Checkpoint& checkpoint);
    // -1 unless follow() has made it; stays ours.
    [[nodiscard]] int fd(std::uint64_t id) const;
    // All content and all mappings are in: memfds get their sizes, owners and seals.
    Result<> finish(const model::Checkpoint& checkpoint);
    // Corrupt: outside of the object.
    Result<> write(std::uint64_t id, std::uint64_t offset, std::span<const std::byte> bytes);
    // Makes zeros of them and frees their memory. Corrupt: outside of the object.
    Result<> drop(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes);

  private:
    struct Object {
        os::UniqueFd fd;
        std::uint64_t bytes = 0;
    };
    Result<int> place(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes) const;

    std::map<std::uint64_t, Object> objects_;
};

}  // namespace ferry::restore
