// The content of a file in blocks, which are compared by their digests: what has changed in the
// middle of a large file is found without sending it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"

namespace ferry::files {

// InnoDB's page, which it writes whole.
inline constexpr std::uint64_t kBlockBytes = 16384;

// XXH3, 128 bits. All zero: the block is zeros or a hole, whatever its length.
struct Digest {
    std::uint64_t low = 0, high = 0;
    bool operator==(const Digest&) const = default;
    [[nodiscard]] bool is_zeros() const { return low == 0 && high == 0; }
};
using Digests = std::vector<Digest>;

Digest digest_of(std::span<const std::byte> block);

// Calls `take` for each block of [0, size) in order; holes are not read and come without bytes, as
// do blocks of zeros. What lies beyond the end of the file by now is zeros, too. The last block may
// be shorter than the others.
struct Block {
    std::uint64_t index = 0;
    std::span<const std::byte> bytes;  // valid during the call; empty: zeros
    Digest digest;
};
Result<> read_blocks(int fd, std::uint64_t size, const std::function<Result<>(const Block&)>& take);

Result<Digests> digests_of(int fd, std::uint64_t size);

}  // namespace ferry::files
