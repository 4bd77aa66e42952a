// The page part of the migration wire: one frame carries pages of one process or of one object of
// shared memory, or says that pages are zeros or gone. docs/format/wire.md has the bytes. The
// session's framing (length, kind of frame, TLS) is around it and not known here.
//
//   PageFrameHeader | WireRun[run_count] | content of the Data runs, in their order
//
// Encoding copies no pages: it gives the head as bytes and the pages as iovecs into the reader's
// buffer. Everything decoded is checked (I3). Runs are to be applied in the order in which they
// stand.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "pages/reader.h"
#include "pages/run.h"

namespace ferry::pages {

inline constexpr std::uint32_t kPageFrameMagic = 0x47505246;  // "FRPG" as bytes
inline constexpr std::uint16_t kPageFrameVersion = 2;

// Whose pages: addresses are a process's, or offsets in an object of shared memory, which all who
// map it see.
enum class PageSpace : std::uint8_t {
    Process = 1,  // PageOwner::id is its pid
    Shared = 2,   // ... Vma::shared_id
};
struct PageOwner {
    PageSpace space = PageSpace::Process;
    std::uint64_t id = 0;
    bool operator==(const PageOwner&) const = default;
};
[[nodiscard]] inline PageOwner pages_of(Pid pid) {
    return {.space = PageSpace::Process, .id = static_cast<std::uint64_t>(pid.value)};
}
[[nodiscard]] inline PageOwner pages_of_shared(std::uint64_t id) {
    return {.space = PageSpace::Shared, .id = id};
}

enum class RunKind : std::uint32_t {
    Data = 1,  // content follows
    Zero =
        2,  // the page's bytes are all 0 (in a private file mapping that is not the file's content)
    Drop = 3,  // no page any more: as after MADV_DONTNEED
};

enum class Compression : std::uint8_t { None = 0, Lz4 = 1 };

// Little-endian, as every machine Ferry runs on.
struct PageFrameHeader {
    std::uint32_t magic = kPageFrameMagic;
    std::uint16_t version = kPageFrameVersion;
    std::uint8_t compression = 0;
    std::uint8_t space = 0;
    std::uint32_t run_count = 0;
    std::uint32_t reserved = 0;
    std::uint64_t owner = 0;
    std::uint64_t data_bytes = 0;    // of the Data runs, uncompressed
    std::uint64_t stored_bytes = 0;  // as they follow; data_bytes without compression
};
static_assert(sizeof(PageFrameHeader) == 40);

struct WireRun {
    std::uint64_t address = 0;
    std::uint32_t pages = 0;
    RunKind kind = RunKind::Data;
};
static_assert(sizeof(WireRun) == 16);

// One encoded frame: send the iovecs in order. They point into this object and into the pages'
// buffer; both must stay until sent. Reusable without allocation.
class PageFrame {
  public:
    explicit PageFrame(Compression compression = Compression::None) : compression_(compression) {}

    // Of the frames that follow.
    void compress(Compression compression) { compression_ = compression; }

    // Pages of one read: its zeros, then its data. At most half of limits::kWireFrameBytesMax of
    // data and 2^20 runs (CHECK), which Reader's batches are far below. Compression is dropped for
    // a frame that it does not make smaller.
    void encode(PageOwner owner, const PageBatch& batch);
    // "These are gone": frames without content. Encodes as many runs as fit one frame, starting
    // with runs[0], and returns how many.
    std::size_t encode_drops(PageOwner owner, std::span<const PageRun> runs);

    // May be more than IOV_MAX: scattered pages are one part each.
    [[nodiscard]] std::span<const iovec> parts() const { return parts_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  private:
    void append(const PageRun& run, RunKind kind);
    void finish(PageOwner owner);
    bool pack(std::uint64_t data_bytes);

    Compression compression_;
    std::vector<std::byte> head_;
    std::vector<WireRun> runs_;
    std::vector<iovec> parts_;
    std::vector<std::byte> plain_, packed_;
    std::uint64_t bytes_ = 0;
};

// A decoded frame. Spans point into the frame's bytes, or, if it was compressed, into `unpacked`.
struct DecodedPages {
    struct Run {
        PageRun run;
        RunKind kind = RunKind::Data;
        std::span<const std::byte> bytes;  // Data only: run.size()
    };
    PageOwner owner;
    std::vector<Run> runs;
    std::vector<std::byte> unpacked;
    std::uint64_t data_bytes = 0;
};

// Checks the header alone: for a receiver that wants the sizes before the rest has arrived.
// Kind::Corrupt, Kind::Limit.
Result<PageFrameHeader> decode_page_header(std::span<const std::byte> bytes);
// A whole frame. `into` is reused.
Result<> decode_pages(std::span<const std::byte> frame, DecodedPages& into);

}  // namespace ferry::pages
