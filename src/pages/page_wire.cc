#include "pages/page_wire.h"

#include <fmt/format.h>
#include <lz4.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/limits.h"

namespace ferry::pages {
namespace {

constexpr std::uint64_t kRunBytesMax =
    std::uint64_t{std::numeric_limits<std::uint32_t>::max()} * kPageSize;
// A frame's table of runs may take a quarter of it.
constexpr std::uint32_t kRunsPerFrameMax =
    limits::kWireFrameBytesMax / 4 / std::uint32_t{sizeof(WireRun)};
// x86-64 with five-level page tables; the kernel half of the address space begins above.
constexpr std::uint64_t kAddressEnd = std::uint64_t{1} << 56;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

iovec part_of(std::span<const std::byte> bytes) {
    // iovec has no const form; sending only reads.
    return {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
}

bool is_owner(const PageFrameHeader& header) {
    if (header.space == static_cast<std::uint8_t>(PageSpace::Shared)) return true;
    return header.space == static_cast<std::uint8_t>(PageSpace::Process) && header.owner > 0 &&
           header.owner <= std::uint64_t{std::numeric_limits<std::int32_t>::max()};
}

Result<> check_run(const WireRun& run) {
    if (run.kind != RunKind::Data && run.kind != RunKind::Zero && run.kind != RunKind::Drop) {
        return fail(Error::corrupt(
            fmt::format("page frame: unknown kind of run {}", static_cast<unsigned>(run.kind))));
    }
    const std::uint64_t bytes = run.pages * kPageSize;
    if (run.pages == 0 || run.address % kPageSize != 0 || run.address >= kAddressEnd ||
        bytes > kAddressEnd - run.address) {
        return fail(Error::corrupt(
            fmt::format("page frame: no range of pages: {:#x}, {} pages", run.address, run.pages)));
    }
    return {};
}

}  // namespace

void PageFrame::append(const PageRun& run, RunKind kind) {
    for (PageRun rest = run; !rest.empty();) {
        const std::uint64_t take = std::min(rest.size(), kRunBytesMax);
        runs_.push_back({.address = rest.start.value,
                         .pages = static_cast<std::uint32_t>(take / kPageSize),
                         .kind = kind});
        rest.start = rest.start + take;
    }
}

void PageFrame::encode(PageOwner owner, const PageBatch& batch) {
    runs_.clear();
    parts_.clear();
    parts_.emplace_back();  // the head, when it is known
    for (const PageRun& run : batch.zeros.runs()) append(run, RunKind::Zero);
    for (const PagePiece& piece : batch.data) {
        append(piece.run, RunKind::Data);
        parts_.push_back(part_of(piece.bytes));
    }
    finish(owner);
}

std::size_t PageFrame::encode_drops(PageOwner owner, std::span<const PageRun> runs) {
    runs_.clear();
    parts_.clear();
    parts_.emplace_back();
    std::size_t count = 0;
    // Half: append() may make more than one of a run of terabytes.
    while (count < runs.size() && runs_.size() < kRunsPerFrameMax / 2) {
        append(runs[count++], RunKind::Drop);
    }
    finish(owner);
    return count;
}

// Packs parts_[1..] into one part if that makes it smaller.
bool PageFrame::pack(std::uint64_t data_bytes) {
    if (compression_ == Compression::None || data_bytes == 0) return false;
    plain_.clear();
    for (const iovec& part : std::span(parts_).subspan(1)) {
        const auto* bytes = static_cast<const std::byte*>(part.iov_base);
        plain_.insert(plain_.end(), bytes, bytes + part.iov_len);
    }
    // One byte less than the pages: LZ4 gives up (0) where it does not gain.
    packed_.resize(data_bytes - 1);
    const int n = LZ4_compress_default(
        reinterpret_cast<const char*>(plain_.data()), reinterpret_cast<char*>(packed_.data()),
        static_cast<int>(plain_.size()), static_cast<int>(packed_.size()));
    if (n <= 0) return false;
    packed_.resize(static_cast<std::size_t>(n));
    parts_.resize(1);
    parts_.push_back(part_of(packed_));
    return true;
}

void PageFrame::finish(PageOwner owner) {
    std::uint64_t data_bytes = 0;
    for (const iovec& part : parts_) data_bytes += part.iov_len;
    CHECK(runs_.size() <= kRunsPerFrameMax);
    CHECK(data_bytes <= limits::kWireFrameBytesMax / 2);

    PageFrameHeader header = {.space = static_cast<std::uint8_t>(owner.space),
                              .run_count = static_cast<std::uint32_t>(runs_.size()),
                              .owner = owner.id,
                              .data_bytes = data_bytes,
                              .stored_bytes = data_bytes};
    if (pack(data_bytes)) {
        header.compression = static_cast<std::uint8_t>(Compression::Lz4);
        header.stored_bytes = packed_.size();
    }
    const auto table = std::as_bytes(std::span(runs_));
    head_.assign(bytes_of(header).begin(), bytes_of(header).end());
    head_.insert(head_.end(), table.begin(), table.end());
    parts_.front() = part_of(head_);
    bytes_ = head_.size() + header.stored_bytes;
}

Result<PageFrameHeader> decode_page_header(std::span<const std::byte> bytes) {
    PageFrameHeader header;
    if (bytes.size() < sizeof(header)) {
        return fail(Error::corrupt(fmt::format("page frame of {} bytes", bytes.size())));
    }
    std::memcpy(&header, bytes.data(), sizeof(header));
    if (header.magic != kPageFrameMagic) return fail(Error::corrupt("page frame: wrong magic"));
    if (header.version != kPageFrameVersion) {
        return fail(Error::unsupported(fmt::format("page frame of version {}, known is {}",
                                                   header.version, kPageFrameVersion)));
    }
    const bool packed = header.compression == static_cast<std::uint8_t>(Compression::Lz4);
    if (!packed && header.compression != static_cast<std::uint8_t>(Compression::None)) {
        return fail(Error::unsupported(
            fmt::format("page frame: unknown compression {}", header.compression)));
    }
    if (header.reserved != 0 || !is_owner(header)) {
        return fail(Error::corrupt("page frame: header makes no sense"));
    }
    if (header.run_count > kRunsPerFrameMax || header.data_bytes > limits::kWireFrameBytesMax / 2) {
        return fail(Error::limit(fmt::format("page frame of {} runs and {} bytes", header.run_count,
                                             header.data_bytes)));
    }
    const bool sizes_fit =
        packed ? header.stored_bytes < header.data_bytes : header.stored_bytes == header.data_bytes;
    if (!sizes_fit) return fail(Error::corrupt("page frame: sizes contradict each other"));
    return header;
}

Result<> decode_pages(std::span<const std::byte> frame, DecodedPages& into) {
    const PageFrameHeader header = TRY(decode_page_header(frame));
    const std::uint64_t table_bytes = header.run_count * sizeof(WireRun);
    if (frame.size() != sizeof(header) + table_bytes + header.stored_bytes) {
        return fail(
            Error::corrupt(fmt::format("page frame of {} bytes announces {}", frame.size(),
                                       sizeof(header) + table_bytes + header.stored_bytes)));
    }
    const auto table = frame.subspan(sizeof(header), table_bytes);
    std::span<const std::byte> data = frame.subspan(sizeof(header) + table_bytes);
    if (header.stored_bytes != header.data_bytes) {
        into.unpacked.resize(header.data_bytes);
        const int n = LZ4_decompress_safe(reinterpret_cast<const char*>(data.data()),
                                          reinterpret_cast<char*>(into.unpacked.data()),
                                          static_cast<int>(data.size()),
                                          static_cast<int>(into.unpacked.size()));
        if (n < 0 || static_cast<std::uint64_t>(n) != header.data_bytes) {
            return fail(Error::corrupt("page frame: compressed data is damaged"));
        }
        data = into.unpacked;
    }

    into.owner = {.space = static_cast<PageSpace>(header.space), .id = header.owner};
    into.data_bytes = header.data_bytes;
    into.runs.clear();
    for (std::uint32_t i = 0; i < header.run_count; ++i) {
        WireRun run;
        std::memcpy(&run, table.data() + i * sizeof(run), sizeof(run));
        TRY(check_run(run));
        const std::uint64_t bytes = run.pages * kPageSize;
        DecodedPages::Run decoded;
        decoded.run = {RemoteAddr{run.address}, RemoteAddr{run.address + bytes}};
        decoded.kind = run.kind;
        if (run.kind == RunKind::Data) {
            if (bytes > data.size()) {
                return fail(Error::corrupt("page frame: more runs than data"));
            }
            decoded.bytes = data.first(bytes);
            data = data.subspan(bytes);
        }
        into.runs.push_back(decoded);
    }
    if (!data.empty()) return fail(Error::corrupt("page frame: more data than runs"));
    return {};
}

}  // namespace ferry::pages
