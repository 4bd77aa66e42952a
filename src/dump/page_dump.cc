#include "dump/page_dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
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

Result<pages::Scan> pages_to_dump(const model::Process& process) {
    const os::Pagemap pagemap = TRY(os::Pagemap::open(process.pid));
    const pages::ScanCall walk = [&](const os::PagemapScanRequest& request,
                                     std::span<os::PageRegion> into) {
        return pagemap.scan(request, into);
    };
    const pages::EntriesCall entries = [&](RemoteAddr start, std::span<os::PagemapEntry> into) {
        return pagemap.read(start, into);
    };
    pages::Scan scan;
    for (const model::Vma& vma : process.address_space.vmas) {
        const bool is_kernels =
            vma.kind == model::VmaKind::Vdso || vma.kind == model::VmaKind::AioRing;
        if (is_kernels) scan.present.add(vma.range);
        if (vma.carries_private_pages()) {
            TRY(pages::scan_protected(
                walk, entries, vma.range,
                vma.is_private_of_object() ? pages::Backing::File : pages::Backing::Anonymous,
                pages::Protect::No, scan));
        } else if (vma.may_have_guards()) {
            TRY(pages::find_guards(walk, entries, vma.range, scan.guards));
        }
    }
    return scan;
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

// The content of a piece that was read: `bytes` are those of its runs, back to back.
using Work = std::function<Result<>(const Piece& piece, std::span<const std::byte> bytes)>;

// What has vanished meanwhile counts as zeros.
void clear_missing(const Piece& piece, const pages::PageSet& missing, std::span<std::byte> bytes) {
    std::uint64_t offset = 0;
    for (const pages::PageRun& run : piece.runs) {
        const pages::PageSet within = missing.within(run);
        for (const pages::PageRun& hole : within.runs()) {
            std::ranges::fill(bytes.subspan(offset + (hole.start - run.start), hole.size()),
                              std::byte{});
        }
        offset += run.size();
    }
}

class PieceReader {
  public:
    PieceReader(Pid pid, Stillness stillness, std::span<const Piece> pieces, const Work& work)
        : pid_(pid), stillness_(stillness), pieces_(pieces), work_(work) {}

    // All of them, by two threads where that pays: from some MiB on.
    Result<> run() {
        Result<> other;
        {
            std::optional<std::jthread> helper;
            if (pieces_.size() > 8) helper.emplace([&] { other = take_pieces(); });
            TRY(take_pieces());
        }
        return other;
    }

  private:
    // Until none is left or somebody has failed.
    Result<> take_pieces() {
        pages::Reader reader = TRY(pages::Reader::open(pid_));
        std::vector<std::byte> buffer(pages::Reader::kBatchBytes);
        pages::PageBatch batch;
        for (std::size_t i = next_++; i < pieces_.size(); i = next_++) {
            const Result<> done = take(pieces_[i], reader, buffer, batch);
            if (done) continue;
            next_ = pieces_.size();
            return done;
        }
        return {};
    }
    Result<> take(const Piece& piece, pages::Reader& reader, std::span<std::byte> buffer,
                  pages::PageBatch& batch) {
        const std::span<std::byte> bytes = buffer.first(piece.bytes);
        TRY(reader.read(piece.runs, bytes, batch));
        if (!batch.missing.empty() && stillness_ == Stillness::StandsStill) {
            return fail(Error::gone(fmt::format("page {} vanished while its process stood still",
                                                batch.missing.runs().front().start)));
        }
        clear_missing(piece, batch.missing, bytes);
        return work_(piece, bytes);
    }

    Pid pid_;
    Stillness stillness_;
    std::span<const Piece> pieces_;
    const Work& work_;
    std::atomic<std::size_t> next_{0};
};

Result<pages::PageSet> find_same(Pid pid, Stillness stillness, const pages::PageSet& set,
                                 const ParentPages& parent) {
    const std::vector<Piece> pieces = cut(set, 0);
    std::vector<pages::PageSet> same(pieces.size());
    const Work compare = [&](const Piece& piece, std::span<const std::byte> bytes) -> Result<> {
        pages::PageSet& of_piece = same[static_cast<std::size_t>(&piece - pieces.data())];
        for (const pages::PageRun& run : piece.runs) {
            of_piece.add(TRY(parent.find_same(run, bytes.first(run.size()))));
            bytes = bytes.subspan(run.size());
        }
        return {};
    };
    TRY(PieceReader(pid, stillness, pieces, compare).run());
    pages::PageSet all;
    for (const pages::PageSet& of_piece : same) all.add(of_piece);
    return all;
}

}  // namespace

Result<> dump_pages(const model::Process& process, Stillness stillness, const ParentPages* parent,
                    image::PagemapWriter& into, std::vector<AddrRange>& guards) {
    const pages::Scan scan = TRY(pages_to_dump(process));
    guards.assign(scan.guards.runs().begin(), scan.guards.runs().end());
    const pages::PageSet& set = scan.present;
    pages::PageSet same;
    if (parent != nullptr) same = TRY(find_same(process.pid, stillness, set, *parent));
    const pages::PageSet here = subtract(set, same);
    const std::vector<Piece> pieces = cut(here, into.pages_offset());
    const Work write = [&into](const Piece& piece, std::span<const std::byte> bytes) {
        return os::pwrite_all(into.pages_fd(), bytes, piece.offset);
    };
    TRY(PieceReader(process.pid, stillness, pieces, write).run());
    return add_pages(here, same, into);
}

}  // namespace ferry::dump
