// The content of pages on disk: pagemap-ID.img says which pages of an address space are where in
// pages-N.img (the raw bytes of all present pages, in the order of the runs). Wire facts of
// CRIU 4.2: images/pagemap.proto. Pages are never copied here: the caller writes to and reads from
// descriptors.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "image/store.h"

namespace ferry::image {

// A process's private pages (pagemap-PID.img) or a shared object's (pagemap-shmem-ID.img).
struct PagemapId {
    enum class Kind : std::uint8_t { Process, Shared };
    Kind kind = Kind::Process;
    std::uint64_t number = 0;
    [[nodiscard]] static PagemapId process(Pid pid) {
        return {Kind::Process, static_cast<std::uint64_t>(pid.value)};
    }
    [[nodiscard]] static PagemapId shared(std::uint64_t id) { return {Kind::Shared, id}; }
    [[nodiscard]] std::string file_name() const;
};

// Writes one pagemap and its pages file. Use:
//   TRY(process_vm_readv(...)) into the caller's buffer, then append(range, bytes); or, without a
//   copy, write (splice, copy_file_range, pwrite) range.size() bytes at pages_offset() of
//   pages_fd(), then add(range).
// Runs must ascend and not overlap; adjacent ones are merged. Nothing is visible before the store's
// commit().
class PagemapWriter {
  public:
    // pages_number: the N of pages-N.img; each pagemap of a dump needs its own, from 1.
    static Result<PagemapWriter> create(DirectoryStore& store, PagemapId id,
                                        std::uint32_t pages_number);

    [[nodiscard]] int pages_fd() const { return pages_.get(); }
    // Where the next present run's bytes belong.
    [[nodiscard]] std::uint64_t pages_offset() const { return offset_; }

    // Records pages whose bytes the caller wrote at pages_offset(); advances it by range.size().
    Result<> add(AddrRange range);
    // Pages that are as in the parent dump (link_parent()); they have no bytes here.
    Result<> add_in_parent(AddrRange range);
    // add() and the write in one. bytes.size() == range.size().
    Result<> append(AddrRange range, std::span<const std::byte> bytes);
    // Ends both files; reports what close(2) of the pages file reports.
    Result<> finish(DirectoryStore& store) &&;

    [[nodiscard]] std::uint64_t pages_written() const { return offset_ / kPageSize; }
    [[nodiscard]] std::uint64_t pages_in_parent() const { return in_parent_ / kPageSize; }

  private:
    struct Run {
        AddrRange range;
        bool in_parent = false;
    };
    PagemapWriter() = default;
    Result<> add_run(Run run);

    std::string name_;
    std::uint32_t pages_number_ = 0;
    os::UniqueFd pages_;
    std::uint64_t offset_ = 0, in_parent_ = 0;
    std::vector<Run> runs_;
};

// The dump in `store` refers to the one in the directory `path`, which is counted from its own;
// part of the same commit.
Result<> link_parent(DirectoryStore& store, const std::string& path);

// Pages that lie together in memory and in one pages file.
struct PageRun {
    AddrRange range;
    // Index into PagemapReader::pages_fds(): 0 is this dump, higher ones its parents (pre-dumps).
    std::uint32_t file = 0;
    std::uint64_t offset = 0;  // of range.start, in bytes
};

// Reads a pagemap, parent dumps (the "parent" link of pre-dumps) included, and checks it: runs
// ascend, do not overlap and lie within their pages files. Deduplicated (punched) parents are not
// detected.
class PagemapReader {
  public:
    // System(ENOENT): no such pagemap.
    static Result<PagemapReader> open(const DirectoryStore& store, PagemapId id);

    // Ascending. Pages in no run are absent: zero, or the file's own.
    [[nodiscard]] const std::vector<PageRun>& runs() const { return runs_; }
    [[nodiscard]] int pages_fd(const PageRun& run) const { return files_[run.file].get(); }
    [[nodiscard]] std::uint64_t pages() const;

  private:
    PagemapReader() = default;

    std::vector<os::UniqueFd> files_;
    std::vector<PageRun> runs_;
};

// stats-dump and stats-restore, as CRIU writes them into the work directory. Times in microseconds.
struct DumpStats {
    std::uint32_t freezing_us = 0, frozen_us = 0, memory_us = 0, write_us = 0;
    std::uint64_t pages_scanned = 0, pages_written = 0, shared_pages_written = 0;
    std::uint64_t pages_skipped_parent = 0, shared_pages_skipped_parent = 0;
};
struct RestoreStats {
    std::uint32_t forking_us = 0, restore_us = 0;
    std::uint64_t pages_compared = 0, pages_restored = 0, pages_shared_with_parent = 0;
};
Result<> write_stats(int work_directory, const DumpStats& stats);
Result<> write_stats(int work_directory, const RestoreStats& stats);

}  // namespace ferry::image
