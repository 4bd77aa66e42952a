// Brings pages into a stub.
#pragma once

#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "restore/staged_tree.h"
#include "restore/stub.h"

namespace ferry::restore {

// See StagedTree for what these do.
Result<> write_pages(const StubProcess& process, std::span<const PageWrite> writes);
Result<> drop_pages(StubProcess& process, std::span<const AddrRange> ranges);
Result<> keep_pages(StubProcess& process, std::span<const AddrRange> present);
Result<> read_pages(const StubProcess& process, int pages_fd, std::span<const FileRun> runs);

// What of the mappings that carry private pages lies outside of `present` (ascending).
[[nodiscard]] std::vector<AddrRange> absent_ranges(std::span<const MappedVma> mapped,
                                                   std::span<const AddrRange> present);

}  // namespace ferry::restore
