#include "dump/page_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "os/fd.h"
#include "os/pagemap.h"
#include "pages/reader.h"
#include "pages/run.h"
#include "pages/scan_walk.h"

namespace ferry::dump {
namespace {

// One piece of work: runs that lie together in the file.
struct Piece {
    std::vector<pages::PageRun> runs;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

Result<pages::PageSet> pages_to_dump(const model::Process& process) {
    const os::Pagemap pagemap = TRY(os::Pagemap::open(process.pid));
    pages::Scan scan;
    for (const model::Vma& vma : process.address_space.vmas) {
        const bool is_kernels =
            vma.kind == model::VmaKind::Vdso || vma.kind == model::VmaKind::AioRing;
        if (is_kernels) scan.present.add(vma.range);
        if (!vma.carries_private_pages()) continue;
        TRY(pages::scan_protected(
            [&](const os::PagemapScanRequest& request, std::span<os::PageRegion> into) {
                return pagemap.scan(request, into);
            },
            [&](RemoteAddr start, std::span<os::PagemapEntry> into) {
                return pagemap.read(start, into);
            },
            vma.range,
            vma.kind == model::VmaKind::FilePrivate ? pages::Backing::File
                                                    : pages::Backing::Anonymous,
            pages::Protect::No, scan));
    }
    if (!scan.guards.empty()) {
        return fail(Error::unsupported(
            fmt::format("process {}: guard pages (MADV_GUARD_INSTALL) at {} are not carried yet",
                        process.pid, scan.guards.runs().front())));
    }
    return std::move(scan.present);
}

std::vector<Piece> cut(const pages::PageSet& set, std::uint64_t offset) {
    std::vector<Piece> pieces;
    pages::Batches batches(
        set, {.bytes = pages::Reader::kBatchBytes, .runs = pages::Reader::kBatchRuns});
    for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
        Piece piece{.runs = {runs.begin(), runs.end()}, .offset = offset};
        for (const pages::PageRun& run : runs) piece.bytes += run.size();
        offset += piece.bytes;
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

Result<> copy_piece(const Piece& piece, pages::Reader& reader, std::span<std::byte> buffer,
                    pages::PageBatch& batch, int file) {
    const std::span<std::byte> into = buffer.first(piece.bytes);
    TRY(reader.read(piece.runs, into, batch));
    if (!batch.missing.empty()) {
        return fail(Error::gone(fmt::format("page {} vanished while its process stood still",
                                            batch.missing.runs().front().start)));
    }
    return os::pwrite_all(file, into, piece.offset);
}

// Takes pieces until none is left or somebody has failed.
Result<> copy_pieces(Pid pid, std::span<const Piece> pieces, std::atomic<std::size_t>& next,
                     int file) {
    pages::Reader reader = TRY(pages::Reader::open(pid));
    std::vector<std::byte> buffer(pages::Reader::kBatchBytes);
    pages::PageBatch batch;
    for (std::size_t i = next++; i < pieces.size(); i = next++) {
        const Result<> copied = copy_piece(pieces[i], reader, buffer, batch, file);
        if (!copied) {
            next = pieces.size();
            return copied;
        }
    }
    return {};
}

}  // namespace

Result<> dump_pages(const model::Process& process, image::PagemapWriter& into) {
    const pages::PageSet set = TRY(pages_to_dump(process));
    const std::vector<Piece> pieces = cut(set, into.pages_offset());
    std::atomic<std::size_t> next{0};
    Result<> other;
    {
        // A second thread pays from some MiB on.
        std::optional<std::jthread> helper;
        if (pieces.size() > 8) {
            helper.emplace(
                [&] { other = copy_pieces(process.pid, pieces, next, into.pages_fd()); });
        }
        TRY(copy_pieces(process.pid, pieces, next, into.pages_fd()));
    }
    TRY(std::move(other));
    for (const pages::PageRun& run : set.runs()) TRY(into.add(run));
    return {};
}

}  // namespace ferry::dump
