// The content of one object of shared memory (MAP_SHARED | MAP_ANONYMOUS, memfd, System V), read
// from outside through a descriptor of the object, and which of it a far end has. Addresses are
// offsets in the object.
//
// It is compared, not tracked: each page that was handed out is remembered by a 64-bit hash (XXH3),
// and what hashes otherwise now is handed out again. That is right whoever wrote and however: by a
// mapping of any process, of one that was forked and has ended between two looks, or that has
// unmapped the object meanwhile; by write(2), splice(2) or a system call that fills a buffer;
// pages that are swapped out, or that nobody has mapped any more; holes that were punched
// (MADV_REMOVE) and filled again. Two different pages that hash alike would be taken for the same:
// one chance in 2^64 for each page that is written.
//
// What limits a look to pages that may have changed (suspects) is the caller's knowledge.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "pages/reader.h"
#include "pages/run.h"

namespace ferry::pages {

// The object, for reading, where it is at the source. Gone: it is not there any more.
Result<os::UniqueFd> open_object(const model::SharedMemory& memory);
// Whole pages of it. What lies behind its end is zeros, as for a reader of a mapping's last page
// and of an object that has grown again.
Result<> read_object(int fd, std::span<std::byte> into, std::uint64_t offset);
// The pages that the object holds, in memory or swapped out, among its first `bytes`
// (lseek(2), SEEK_DATA). The others are zeros. Reading them makes no page.
Result<PageSet> find_data(int fd, std::uint64_t bytes);

// Used by one thread at a time; find_changed() by one more while nothing else is called.
class SharedObject {
  public:
    explicit SharedObject(os::UniqueFd fd) : fd_(std::move(fd)) {}

    [[nodiscard]] int fd() const { return fd_.get(); }

    // The pages among `suspects` that the far end has otherwise. Changes nothing.
    [[nodiscard]] Result<PageSet> find_changed(const PageSet& suspects) const;
    // The same in batches: `data` is to be written at the far end, `zeros` dropped
    // there. `buffer` holds the pieces; at least one page. After an error nobody knows what the far
    // end has.
    using Taker = std::function<Result<>(PageBatch&)>;
    Result<> take_changed(const PageSet& suspects, std::span<std::byte> buffer, const Taker& take);
    // The pages of the far end that are not zeros.
    [[nodiscard]] const PageSet& taken() const { return taken_; }

  private:
    // Of the pages that the far end has; 0: it has zeros. In blocks, since objects may be sparse.
    static constexpr std::uint64_t kBlockPages = 512;
    using Block = std::array<std::uint64_t, kBlockPages>;

    [[nodiscard]] std::uint64_t known(RemoteAddr page) const;
    // Puts the page into the batch if it is another one than the far end's, and remembers it.
    void add_if_changed(RemoteAddr page, std::span<const std::byte> bytes, PageBatch& batch);

    os::UniqueFd fd_;
    std::unordered_map<std::uint64_t, Block> hashes_;
    PageSet taken_;  // the pages whose hash is not 0
};

}  // namespace ferry::pages
