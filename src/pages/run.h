// Sets of pages in one address space, as sorted runs. A run is a page-aligned range; a set of a
// million scattered pages takes 16 MB, one of a whole heap 16 bytes. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "base/types.h"

namespace ferry::pages {

// Page-aligned, not empty.
using PageRun = AddrRange;

// Sorted, disjoint, maximal runs. Ranges handed in must be page-aligned (CHECK); empty ones are
// ignored.
class PageSet {
  public:
    PageSet() = default;
    PageSet(std::initializer_list<PageRun> runs) {
        for (const PageRun& run : runs) add(run);
    }

    // Appending at or behind the end is O(1); elsewhere O(runs).
    void add(PageRun run);
    void add(const PageSet& other);
    void remove(PageRun run);
    void remove(const PageSet& other);
    void clear();

    [[nodiscard]] std::span<const PageRun> runs() const& { return runs_; }
    // `for (... : subtract(a, b).runs())` would walk runs of a set that is gone.
    std::span<const PageRun> runs() const&& = delete;
    [[nodiscard]] bool empty() const { return runs_.empty(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t pages() const { return bytes_ / kPageSize; }
    // O(log runs).
    [[nodiscard]] bool contains(RemoteAddr address) const;
    // The part of the set inside the range.
    [[nodiscard]] PageSet within(AddrRange range) const;

    bool operator==(const PageSet&) const = default;

  private:
    std::vector<PageRun> runs_;
    std::uint64_t bytes_ = 0;
};

// All are O(runs of both).
[[nodiscard]] PageSet unite(const PageSet& a, const PageSet& b);
[[nodiscard]] PageSet subtract(const PageSet& a, const PageSet& b);
[[nodiscard]] PageSet intersect(const PageSet& a, const PageSet& b);

// Cuts a set into batches for reading and sending, in ascending order; long runs are cut.
//   Batches batches(set, {.bytes = 1 << 20, .runs = 1024});
//   for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) ...
// The set must outlive it. A returned span is valid until the next call.
class Batches {
  public:
    struct Limits {
        std::uint64_t bytes = 1 << 20;  // at least one page
        std::size_t runs = 1024;
    };
    Batches(const PageSet& set, Limits limits);

    // Empty at the end.
    [[nodiscard]] std::span<const PageRun> next();

  private:
    std::span<const PageRun> rest_;
    Limits limits_;
    std::uint64_t done_of_first_ = 0;  // bytes of rest_.front() that earlier batches had
    std::vector<PageRun> batch_;
};

}  // namespace ferry::pages
