#include "pages/shared_object.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "base/check.h"
#include "os/description.h"
#include "proc/process_directory.h"

namespace ferry::pages {
namespace {

// Stays in the second-level cache between reading and hashing.
constexpr std::size_t kLookBytes = 256 << 10;

// Where the next data (SEEK_DATA) or hole (SEEK_HOLE) begins; `end` if there is none before.
Result<std::uint64_t> seek(int fd, std::uint64_t from, std::uint64_t end, int whence) {
    const auto found = os::lseek(fd, static_cast<std::int64_t>(from), whence);
    if (!found && found.error().code() == ENXIO) return end;
    if (!found) return fail(found.error());
    return std::min(end, static_cast<std::uint64_t>(*found));
}

std::string where_is(const model::SharedMemory& memory) {
    if (memory.file) return memory.file->source;
    if (memory.segment && memory.pid.value == 0) return memory.segment->source;
    return proc::mapped_file(memory.pid, memory.range);
}

// A segment's inode has its id (ipc/shm.c).
std::uint64_t inode_of(const model::SharedMemory& memory) {
    return memory.id & ~model::kSegmentIds;
}

// Never 0, which means "zeros"; and 0 for a page of zeros.
std::uint64_t hash_of(std::span<const std::byte> page) {
    if (is_zero_page(page.first<kPageSize>())) return 0;
    return std::max<std::uint64_t>(1, XXH3_64bits(page.data(), page.size()));
}

// Reads the set into the buffer, piece by piece: see(page, bytes) for each page, done() after each
// piece, whose bytes are then overwritten.
template <class See, class Done>
Result<> read_each(int fd, const PageSet& set, std::span<std::byte> buffer, See see, Done done) {
    for (const PageRun& run : set.runs()) {
        for (RemoteAddr at = run.start; at < run.end;) {
            const std::uint64_t size =
                std::min<std::uint64_t>(page_align_down(buffer.size()), run.end - at);
            const std::span<std::byte> piece = buffer.first(size);
            TRY(read_object(fd, piece, at.value));
            for (std::uint64_t i = 0; i < size; i += kPageSize) {
                see(at + i, std::span<const std::byte>(piece.subspan(i, kPageSize)));
            }
            TRY(done());
            at = at + size;
        }
    }
    return {};
}

// Neighbours become one piece.
void add_page(PageBatch& batch, PageRun page, std::span<const std::byte> bytes) {
    batch.data_bytes += kPageSize;
    if (!batch.data.empty() && batch.data.back().run.end == page.start) {
        PagePiece& last = batch.data.back();
        last.run.end = page.end;
        last.bytes = {last.bytes.data(), last.bytes.size() + kPageSize};
        return;
    }
    batch.data.push_back({.run = page, .bytes = bytes});
}

}  // namespace

Result<os::UniqueFd> open_object(const model::SharedMemory& memory) {
    const std::string where = where_is(memory);
    auto opened = os::open(where, O_RDONLY);
    const bool is_gone =
        !opened && (opened.error().code() == ENOENT || opened.error().code() == ESRCH);
    if (!opened && !is_gone) return opened;
    // Something else may be mapped there, or open under that number, by now.
    if (is_gone || TRY(os::fstat(opened->get())).st_ino != inode_of(memory)) {
        return fail(Error::gone(fmt::format("shared memory {:#x} is gone", memory.id)));
    }
    return opened;
}

Result<> read_object(int fd, std::span<std::byte> into, std::uint64_t offset) {
    while (!into.empty()) {
        const std::size_t n = TRY(os::pread(fd, into, offset));
        if (n == 0) {
            std::ranges::fill(into, std::byte{0});
            return {};
        }
        into = into.subspan(n);
        offset += n;
    }
    return {};
}

Result<PageSet> find_data(int fd, std::uint64_t bytes) {
    PageSet found;
    for (std::uint64_t at = 0; at < bytes;) {
        at = TRY(seek(fd, at, bytes, SEEK_DATA));
        const std::uint64_t hole = TRY(seek(fd, at, bytes, SEEK_HOLE));
        found.add({RemoteAddr{page_align_down(at)}, RemoteAddr{page_align_up(hole)}});
        at = hole;
    }
    return found;
}

std::uint64_t SharedObject::known(RemoteAddr page) const {
    const std::uint64_t number = page.value / kPageSize;
    const auto block = hashes_.find(number / kBlockPages);
    return block == hashes_.end() ? 0 : block->second.at(number % kBlockPages);
}

Result<PageSet> SharedObject::find_changed(const PageSet& suspects) const {
    PageSet changed;
    std::vector<std::byte> buffer(kLookBytes);
    TRY(read_each(
        fd_.get(), suspects, buffer,
        [&](RemoteAddr page, std::span<const std::byte> bytes_of) {
            if (hash_of(bytes_of) != known(page)) changed.add({page, page + kPageSize});
        },
        []() -> Result<> { return {}; }));
    return changed;
}

void SharedObject::add_if_changed(RemoteAddr page, std::span<const std::byte> bytes,
                                  PageBatch& batch) {
    const std::uint64_t hash = hash_of(bytes);
    if (hash == known(page)) return;
    const std::uint64_t number = page.value / kPageSize;
    hashes_[number / kBlockPages].at(number % kBlockPages) = hash;
    const PageRun run = {page, page + kPageSize};
    if (hash == 0) {
        batch.zeros.add(run);
    } else {
        add_page(batch, run, bytes);
    }
}

Result<> SharedObject::take_changed(const PageSet& suspects, std::span<std::byte> buffer,
                                    const Taker& take) {
    CHECK(buffer.size() >= kPageSize);
    PageBatch batch;
    PageSet data, zeros;
    TRY(read_each(
        fd_.get(), suspects, buffer,
        [&](RemoteAddr page, std::span<const std::byte> bytes) {
            add_if_changed(page, bytes, batch);
        },
        [&]() -> Result<> {
            if (batch.data.empty() && batch.zeros.empty()) return {};
            for (const PagePiece& piece : batch.data) data.add(piece.run);
            zeros.add(batch.zeros);
            TRY(take(batch));
            batch.clear();
            return {};
        }));
    taken_ = unite(subtract(taken_, zeros), data);
    return {};
}

}  // namespace ferry::pages
