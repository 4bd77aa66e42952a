#include "image/page_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/check.h"
#include "image/proto/inventory.pb.h"
#include "image/proto/memory.pb.h"
#include "image/records.h"

namespace ferry::image {

namespace {

// Bits of PagemapEntry.flags: the pages are in the parent dump, were left for post-copy, are here.
constexpr std::uint32_t kInParent = 1;
constexpr std::uint32_t kPresent = 4;
// Of user addresses, with room for five-level page tables.
constexpr std::uint64_t kAddressMax = std::uint64_t{1} << 56;
// Pre-dumps form a chain; nobody makes one this long.
constexpr int kParentsMax = 64;
constexpr const char* kParentLink = "parent";

std::string pages_name(std::uint32_t number) {
    return fmt::format("pages-{}.img", number);
}

struct Pagemap {
    struct Entry {
        AddrRange range;
        bool in_parent = false;
        std::uint64_t offset = 0;  // where !in_parent
    };
    std::uint32_t pages_number = 0;
    std::vector<Entry> entries;
};

Result<Pagemap> parse_pagemap(const std::string& name, std::span<const std::byte> bytes) {
    RecordReader reader = TRY(RecordReader::open(name, bytes, Magic::Pagemap));
    wire::PagemapHead head;
    TRY(reader.next(head));
    Pagemap map;
    map.pages_number = head.pages_id();
    std::uint64_t last_end = 0, offset = 0;
    while (!reader.at_end()) {
        wire::PagemapEntry entry;
        TRY(reader.next(entry));
        const std::uint64_t pages =
            entry.has_nr_pages() ? entry.nr_pages() : entry.compat_nr_pages();
        const std::uint64_t start = entry.vaddr();
        const bool sane = pages > 0 && pages <= kAddressMax / kPageSize && start >= last_end &&
                          start <= kAddressMax && start % kPageSize == 0;
        if (!sane) {
            return fail(Error::corrupt(
                fmt::format("{}: {} pages at {:#x} after {:#x}", name, pages, start, last_end)));
        }
        const AddrRange range = {{start}, {start + pages * kPageSize}};
        last_end = range.end.value;
        // Images older than the flags say only in_parent.
        const bool in_parent = entry.in_parent() || (entry.flags() & kInParent) != 0;
        if (!in_parent && entry.has_flags() && (entry.flags() & kPresent) == 0) {
            return fail(
                Error::unsupported(name + ": pages that were left at the source for post-copy"));
        }
        map.entries.push_back({range, in_parent, offset});
        if (!in_parent) offset += range.size();
    }
    return map;
}

// Fills holes, which are in the parent, from the parent's runs. Both ascend.
Result<> add_from_parent(AddrRange hole, const std::vector<PageRun>& parent,
                         std::vector<PageRun>& into) {
    auto run = std::lower_bound(
        parent.begin(), parent.end(), hole.start,
        [](const PageRun& r, RemoteAddr address) { return r.range.end <= address; });
    for (RemoteAddr at = hole.start; at < hole.end; ++run) {
        if (run == parent.end() || run->range.start > at) {
            return fail(Error::corrupt(
                fmt::format("page {} is said to be in the parent dump, but is not", at)));
        }
        const RemoteAddr end = std::min(hole.end, run->range.end);
        into.push_back({{at, end}, run->file, run->offset + (at - run->range.start)});
        at = end;
    }
    return {};
}

}  // namespace

std::string PagemapId::file_name() const {
    return kind == Kind::Process ? fmt::format("pagemap-{}.img", number)
                                 : fmt::format("pagemap-shmem-{}.img", number);
}

Result<PagemapWriter> PagemapWriter::create(DirectoryStore& store, PagemapId id,
                                            std::uint32_t pages_number) {
    PagemapWriter writer;
    writer.name_ = id.file_name();
    writer.pages_number_ = pages_number;
    writer.pages_ = TRY(store.create(pages_name(pages_number)));
    return writer;
}

Result<> PagemapWriter::add(AddrRange range) {
    TRY(add_run({range, false}));
    offset_ += range.size();
    return {};
}

Result<> PagemapWriter::add_in_parent(AddrRange range) {
    TRY(add_run({range, true}));
    in_parent_ += range.size();
    return {};
}

Result<> PagemapWriter::add_run(Run run) {
    const AddrRange& range = run.range;
    const bool aligned = range.start.value % kPageSize == 0 && range.end.value % kPageSize == 0;
    const bool ascends = runs_.empty() || range.start >= runs_.back().range.end;
    if (range.empty() || !aligned || !ascends) {
        return fail(Error::invalid(fmt::format("{}: run {} out of order", name_, range)));
    }
    const bool continues = !runs_.empty() && runs_.back().range.end == range.start &&
                           runs_.back().in_parent == run.in_parent;
    if (continues) {
        runs_.back().range.end = range.end;
    } else {
        runs_.push_back(run);
    }
    return {};
}

Result<> PagemapWriter::append(AddrRange range, std::span<const std::byte> bytes) {
    CHECK(bytes.size() == range.size());
    TRY(os::pwrite_all(pages_.get(), bytes, offset_));
    return add(range);
}

Result<> PagemapWriter::finish(DirectoryStore& store) && {
    RecordWriter writer(Magic::Pagemap);
    wire::PagemapHead head;
    head.set_pages_id(pages_number_);
    TRY(writer.add(head));
    for (const auto& [range, in_parent] : runs_) {
        wire::PagemapEntry entry;
        entry.set_vaddr(range.start.value);
        // Both fields: readers older than nr_pages know only the first, CRIU 4.2 prefers the
        // second.
        const std::uint64_t pages = range.pages();
        entry.set_compat_nr_pages(static_cast<std::uint32_t>(
            std::min<std::uint64_t>(pages, std::numeric_limits<std::uint32_t>::max())));
        entry.set_nr_pages(pages);
        entry.set_flags(in_parent ? kInParent : kPresent);
        TRY(writer.add(entry));
    }
    const struct stat status = TRY(os::fstat(pages_.get()));
    if (static_cast<std::uint64_t>(status.st_size) != offset_) {
        return fail(Error::invalid(fmt::format("{}: {} bytes of pages written, {} recorded", name_,
                                               status.st_size, offset_)));
    }
    TRY(std::move(pages_).close());
    return store.put(name_, writer.bytes());
}

Result<> link_parent(DirectoryStore& store, const std::string& path) {
    return store.link(kParentLink, path);
}

Result<PagemapReader> PagemapReader::open(const DirectoryStore& store, PagemapId id) {
    // Each level's directory, newest first; the store's own stays the caller's.
    std::vector<Pagemap> levels;
    PagemapReader reader;
    os::UniqueFd directory = TRY(os::dup(store.fd()));
    const std::string name = id.file_name();
    for (int depth = 0; directory; ++depth) {
        if (depth == kParentsMax) return fail(Error::limit("too many parent dumps"));
        DirectoryStore level(std::move(directory));
        const std::optional<model::Bytes> bytes = TRY(level.get(name));
        if (!bytes) {
            if (depth > 0) break;  // A mapping that is younger than the pre-dump has no parent.
            return fail(Error::system(ENOENT, "open(" + name + ")"));
        }
        Pagemap map = TRY(parse_pagemap(name, *bytes));
        os::UniqueFd pages = TRY(level.open_file(pages_name(map.pages_number)));
        const struct stat status = TRY(os::fstat(pages.get()));
        std::uint64_t needed = 0;
        bool needs_parent = false;
        for (const Pagemap::Entry& entry : map.entries) {
            if (!entry.in_parent) needed = entry.offset + entry.range.size();
            needs_parent = needs_parent || entry.in_parent;
        }
        if (static_cast<std::uint64_t>(status.st_size) < needed) {
            return fail(
                Error::corrupt(fmt::format("{} is truncated: {} of {} bytes",
                                           pages_name(map.pages_number), status.st_size, needed)));
        }
        levels.push_back(std::move(map));
        reader.files_.push_back(std::move(pages));
        if (!needs_parent) break;
        directory = TRY(os::openat(level.fd(), kParentLink, O_RDONLY | O_DIRECTORY));
    }
    std::vector<PageRun> runs;
    for (std::size_t level = levels.size(); level-- > 0;) {
        std::vector<PageRun> merged;
        for (const Pagemap::Entry& entry : levels[level].entries) {
            if (entry.in_parent) {
                TRY(with_context(add_from_parent(entry.range, runs, merged), name));
            } else {
                merged.push_back({entry.range, static_cast<std::uint32_t>(level), entry.offset});
            }
        }
        runs = std::move(merged);
    }
    reader.runs_ = std::move(runs);
    return reader;
}

std::uint64_t PagemapReader::pages() const {
    std::uint64_t sum = 0;
    for (const PageRun& run : runs_) sum += run.range.pages();
    return sum;
}

namespace {

Result<> write_stats_file(int work_directory, const std::string& name, const wire::Stats& stats) {
    RecordWriter writer(Magic::Stats, kServiceMagic);
    TRY(writer.add(stats));
    os::UniqueFd file =
        TRY(os::openat(work_directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    TRY(os::write_all(file.get(), writer.bytes()));
    return std::move(file).close();
}

}  // namespace

Result<> write_stats(int work_directory, const DumpStats& stats) {
    wire::Stats message;
    wire::DumpStats& dump = *message.mutable_dump();
    dump.set_freezing_time(stats.freezing_us);
    dump.set_frozen_time(stats.frozen_us);
    dump.set_memdump_time(stats.memory_us);
    dump.set_memwrite_time(stats.write_us);
    dump.set_pages_scanned(stats.pages_scanned);
    dump.set_pages_skipped_parent(stats.pages_skipped_parent);
    dump.set_pages_written(stats.pages_written);
    dump.set_irmap_resolve(0);
    dump.set_pages_lazy(0);
    dump.set_page_pipes(0);
    dump.set_page_pipe_bufs(0);
    dump.set_shpages_scanned(stats.shared_pages_written + stats.shared_pages_skipped_parent);
    dump.set_shpages_skipped_parent(stats.shared_pages_skipped_parent);
    dump.set_shpages_written(stats.shared_pages_written);
    return write_stats_file(work_directory, "stats-dump", message);
}

Result<> write_stats(int work_directory, const RestoreStats& stats) {
    wire::Stats message;
    wire::RestoreStats& restore = *message.mutable_restore();
    restore.set_pages_compared(stats.pages_compared);
    restore.set_pages_skipped_cow(stats.pages_shared_with_parent);
    restore.set_forking_time(stats.forking_us);
    restore.set_restore_time(stats.restore_us);
    restore.set_pages_restored(stats.pages_restored);
    return write_stats_file(work_directory, "stats-restore", message);
}

}  // namespace ferry::image
