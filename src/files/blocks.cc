#include "files/blocks.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "os/fd.h"
#include "os/file_tree.h"

namespace ferry::files {
namespace {

constexpr std::uint64_t kChunkBytes = 64 * kBlockBytes;  // read at once; stays in the cache

bool all_zeros(std::span<const std::byte> bytes) {
    if (bytes.empty() || bytes[0] != std::byte{0}) return bytes.empty();
    return std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

// Fills `into` from `offset`; what the file does not have any more is zeros.
Result<> read_chunk(int fd, std::span<std::byte> into, std::uint64_t offset) {
    while (!into.empty()) {
        const std::size_t got = TRY(os::pread(fd, into, offset));
        if (got == 0) break;
        into = into.subspan(got);
        offset += got;
    }
    std::ranges::fill(into, std::byte{0});
    return {};
}

}  // namespace

Digest digest_of(std::span<const std::byte> block) {
    if (all_zeros(block)) return {};
    const XXH128_hash_t hash = XXH3_128bits(block.data(), block.size());
    // The one value that means something else.
    if (hash.low64 == 0 && hash.high64 == 0) return {.low = 1, .high = 0};
    return {.low = hash.low64, .high = hash.high64};
}

Result<> read_blocks(int fd, std::uint64_t size,
                     const std::function<Result<>(const Block&)>& take) {
    const auto ranges = TRY(os::data_ranges(fd, size));
    auto range = ranges.begin();
    std::vector<std::byte> buffer(std::min(kChunkBytes, size));
    for (std::uint64_t chunk = 0; chunk < size; chunk += kChunkBytes) {
        const std::uint64_t chunk_end = std::min(chunk + kChunkBytes, size);
        while (range != ranges.end() && range->second <= chunk) ++range;
        const bool has_data = range != ranges.end() && range->first < chunk_end;
        const std::span<std::byte> whole = std::span(buffer).first(chunk_end - chunk);
        if (has_data) TRY(read_chunk(fd, whole, chunk));
        for (std::uint64_t at = chunk; at < chunk_end; at += kBlockBytes) {
            Block block{.index = at / kBlockBytes, .bytes = {}, .digest = {}};
            if (has_data) {
                const std::uint64_t length = std::min(kBlockBytes, chunk_end - at);
                block.bytes = whole.subspan(at - chunk, length);
                block.digest = digest_of(block.bytes);
                if (block.digest.is_zeros()) block.bytes = {};
            }
            TRY(take(block));
        }
    }
    return {};
}

Result<Digests> digests_of(int fd, std::uint64_t size) {
    Digests digests;
    digests.reserve(size / kBlockBytes + 1);
    TRY(read_blocks(fd, size, [&digests](const Block& block) -> Result<> {
        digests.push_back(block.digest);
        return {};
    }));
    return digests;
}

}  // namespace ferry::files
