// Reads pages of another process in bulk, from outside, whether it runs or stands still.
// process_vm_readv(2) with hundreds of runs per call; what it refuses (PROT_NONE) is read through
// /proc/PID/mem, which is allowed to (proc_pid_mem(5)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "pages/run.h"

namespace ferry::pages {

// Content of one run; the bytes lie in the buffer that was read into.
struct PagePiece {
    PageRun run;
    std::span<const std::byte> bytes;  // run.size()
};

// The outcome of one read. Each page asked for is in exactly one of the three.
struct PageBatch {
    std::vector<PagePiece> data;  // ascending, neighbours joined where their bytes are neighbours
    PageSet zeros;                // all bytes are 0: nothing needs to be carried
    PageSet missing;              // vanished since the scan
    std::uint64_t data_bytes = 0;

    void clear();  // keeps the capacity, so that a reused batch allocates nothing
};

// True if every byte is 0. Stops at the first cache lines that are not: for most pages the first.
[[nodiscard]] bool is_zero_page(std::span<const std::byte, kPageSize> page);

// One process. May be moved between threads; used by one at a time. Several readers of the same
// process may work at once.
class Reader {
  public:
    // A buffer of this size stays in the second- and third-level caches between reading and
    // sending.
    static constexpr std::size_t kBatchBytes = 512 << 10;
    // IOV_MAX: the most runs one call can take.
    static constexpr std::size_t kBatchRuns = 1024;

    // Kind::Gone if there is no such process.
    static Result<Reader> open(Pid pid);

    // Reads the runs back to back into `into`, which must hold them all (CHECK). Fills `batch`,
    // whose pieces point into `into`. Kind::Gone if the process has exited; vanished pages are no
    // error.
    Result<> read(std::span<const PageRun> runs, std::span<std::byte> into, PageBatch& batch);

  private:
    Reader(Pid pid, os::UniqueFd memory) : pid_(pid), memory_(std::move(memory)) {}
    Result<std::uint64_t> read_from(std::size_t run, std::uint64_t skip,
                                    std::span<const PageRun> runs, std::span<std::byte> into);

    Pid pid_;
    os::UniqueFd memory_;
};

}  // namespace ferry::pages
