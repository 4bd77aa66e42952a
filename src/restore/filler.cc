#include "restore/filler.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "base/check.h"
#include "os/memory.h"

namespace ferry::restore {
namespace {

constexpr std::size_t kVectorMax = 1024;  // IOV_MAX
// What the host reads or compares at a time; stays in the second-level cache.
constexpr std::size_t kChunkBytes = 512 << 10;
// A second thread pays from some MiB on.
constexpr std::size_t kPiecesForAHelper = 8;
constexpr std::uint64_t kPagePresent = 1ULL << 63, kPageSwapped = 1ULL << 62;

iovec vector_of(const std::byte* data, std::size_t size) {
    return {.iov_base = const_cast<std::byte*>(data), .iov_len = size};
}
iovec vector_of(RemoteAddr address, std::size_t size) {
    return {.iov_base = reinterpret_cast<void*>(address.value), .iov_len = size};
}

const MappedVma* mapping_at(std::span<const MappedVma> mapped, RemoteAddr at) {
    const auto found = std::ranges::upper_bound(mapped, at, {},
                                                [](const MappedVma& m) { return m.vma.range.end; });
    return found != mapped.end() && found->vma.range.contains(at) ? &*found : nullptr;
}

bool is_writable(const MappedVma& mapped) {
    return (mapped.vma.protection & PROT_WRITE) != 0;
}

// The mapping that must take pages at `address`, and how many of `bytes` lie in it.
struct Place {
    const MappedVma* mapped = nullptr;
    std::uint64_t bytes = 0;
};
Result<Place> place_of(const StubProcess& process, RemoteAddr address, std::uint64_t bytes) {
    const MappedVma* mapped = mapping_at(process.mapped, address);
    if (mapped == nullptr || !mapped->vma.carries_private_pages()) {
        return fail(Error::corrupt(
            fmt::format("process {}: pages at {}, where {}", process.pid, address,
                        mapped == nullptr ? "nothing is mapped" : "a file is mapped shared")));
    }
    return Place{mapped, std::min(bytes, mapped->vma.range.end - address)};
}

// Collects writes into few calls of process_vm_writev(2). Mappings without the right to write go
// through /proc/PID/mem, which has it (proc_pid_mem(5)), so that protections are final from the
// start.
class Writer {
  public:
    explicit Writer(const StubProcess& process) : process_(process) {}

    Result<> add(RemoteAddr address, std::span<const std::byte> bytes, bool writable) {
        if (!writable) return os::pwrite_all(process_.memory.get(), bytes, address.value);
        if (local_.size() == kVectorMax) TRY(flush());
        local_.push_back(vector_of(bytes.data(), bytes.size()));
        remote_.push_back(vector_of(address, bytes.size()));
        bytes_ += bytes.size();
        return {};
    }

    Result<> flush() {
        std::span<iovec> local = local_, remote = remote_;
        while (bytes_ > 0) {
            const std::size_t n = TRY(os::process_vm_writev(process_.here, local, remote));
            if (n == 0) {
                return fail(
                    Error::corrupt(fmt::format("process {}: pages cannot be written at {:#x}",
                                               process_.pid, address_of(remote.front()))));
            }
            bytes_ -= n;
            advance(local, n);
            advance(remote, n);
        }
        local_.clear();
        remote_.clear();
        return {};
    }

  private:
    static std::uint64_t address_of(const iovec& part) {
        return reinterpret_cast<std::uint64_t>(part.iov_base);
    }
    static void advance(std::span<iovec>& parts, std::size_t n) {
        while (n > 0 && n >= parts.front().iov_len) {
            n -= parts.front().iov_len;
            parts = parts.subspan(1);
        }
        if (n == 0) return;
        parts.front().iov_base = static_cast<std::byte*>(parts.front().iov_base) + n;
        parts.front().iov_len -= n;
    }

    const StubProcess& process_;
    std::vector<iovec> local_, remote_;
    std::size_t bytes_ = 0;
};

// Writes only pages whose content differs from what a fork brought. A page that is not there is
// written without being looked at: reading it would make it be there.
class ComparingWriter {
  public:
    ComparingWriter(const StubProcess& process, Writer& writer)
        : process_(process), writer_(writer) {}

    Result<> add(RemoteAddr address, std::span<const std::byte> bytes, bool writable) {
        while (!bytes.empty()) {
            const auto part = bytes.first(std::min(bytes.size(), kChunkBytes));
            TRY(add_chunk(address, part, writable));
            address = address + part.size();
            bytes = bytes.subspan(part.size());
        }
        return {};
    }

  private:
    Result<> add_chunk(RemoteAddr address, std::span<const std::byte> bytes, bool writable) {
        entries_.resize(bytes.size() / kPageSize);
        const std::uint64_t at = address.value / kPageSize * sizeof(std::uint64_t);
        TRY(os::pread_all(process_.pagemap.get(), std::as_writable_bytes(std::span(entries_)), at));
        std::size_t i = 0;
        while (i < entries_.size()) {
            const bool there = is_there(i);
            std::size_t end = i + 1;
            while (end < entries_.size() && is_there(end) == there) ++end;
            const auto part = bytes.subspan(i * kPageSize, (end - i) * kPageSize);
            const RemoteAddr start = address + i * kPageSize;
            TRY(there ? add_differing(start, part, writable) : writer_.add(start, part, writable));
            i = end;
        }
        return {};
    }
    [[nodiscard]] bool is_there(std::size_t i) const {
        return (entries_[i] & (kPagePresent | kPageSwapped)) != 0;
    }

    Result<> add_differing(RemoteAddr address, std::span<const std::byte> bytes, bool writable) {
        have_.resize(bytes.size());
        TRY(os::pread_all(process_.memory.get(), have_, address.value));
        for (std::size_t at = 0; at < bytes.size(); at += kPageSize) {
            if (std::memcmp(have_.data() + at, bytes.data() + at, kPageSize) == 0) continue;
            TRY(writer_.add(address + at, bytes.subspan(at, kPageSize), writable));
        }
        return {};
    }

    const StubProcess& process_;
    Writer& writer_;
    std::vector<std::uint64_t> entries_;
    std::vector<std::byte> have_;
};

// One piece of work: what one read of the file brings, and where its parts go.
struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    struct Part {
        RemoteAddr address;
        std::uint64_t bytes = 0;
    };
    std::vector<Part> parts;
};

// Runs of an image lie one behind the other in the file, so that one read brings many of them.
std::vector<Piece> cut(std::span<const FileRun> runs) {
    std::vector<Piece> pieces;
    for (FileRun run : runs) {
        while (run.bytes > 0) {
            const bool joins = !pieces.empty() && pieces.back().bytes < kChunkBytes &&
                               pieces.back().offset + pieces.back().bytes == run.offset;
            if (!joins) pieces.push_back({.offset = run.offset, .bytes = 0, .parts = {}});
            Piece& piece = pieces.back();
            const std::uint64_t part = std::min(run.bytes, kChunkBytes - piece.bytes);
            piece.parts.push_back({run.address, part});
            piece.bytes += part;
            run.address = run.address + part;
            run.offset += part;
            run.bytes -= part;
        }
    }
    return pieces;
}

// Takes pieces until none is left or somebody has failed.
Result<> fill_pieces(const StubProcess& process, int pages_fd, std::span<const Piece> pieces,
                     std::atomic<std::size_t>& next) {
    std::vector<std::byte> buffer(kChunkBytes);
    std::vector<PageWrite> writes;
    const auto fill = [&](const Piece& piece) -> Result<> {
        std::span<std::byte> bytes = std::span(buffer).first(piece.bytes);
        TRY(os::pread_all(pages_fd, bytes, piece.offset));
        writes.clear();
        for (const Piece::Part& part : piece.parts) {
            writes.push_back({.address = part.address, .bytes = bytes.first(part.bytes)});
            bytes = bytes.subspan(part.bytes);
        }
        return write_pages(process, writes);
    };
    for (std::size_t i = next++; i < pieces.size(); i = next++) {
        const Result<> filled = fill(pieces[i]);
        if (filled) continue;
        next = pieces.size();
        return filled;
    }
    return {};
}

}  // namespace

Result<> write_pages(const StubProcess& process, std::span<const PageWrite> writes) {
    Writer writer(process);
    ComparingWriter comparing(process, writer);
    for (PageWrite write : writes) {
        CHECK(write.address.value % kPageSize == 0);
        CHECK(write.bytes.size() % kPageSize == 0);
        while (!write.bytes.empty()) {
            const Place place = TRY(place_of(process, write.address, write.bytes.size()));
            const auto part = write.bytes.first(place.bytes);
            const bool writable = is_writable(*place.mapped);
            TRY(process.shares_pages ? comparing.add(write.address, part, writable)
                                     : writer.add(write.address, part, writable));
            write.address = write.address + place.bytes;
            write.bytes = write.bytes.subspan(place.bytes);
        }
    }
    return writer.flush();
}

Result<> drop_pages(StubProcess& process, std::span<const AddrRange> ranges) {
    Program program;
    for (const AddrRange& range : ranges) {
        // ENOMEM tells of unmapped parts; the mapped ones are dropped all the same (madvise(2)).
        program.call("madvise", SYS_madvise, {range.start, range.size(), MADV_DONTNEED}, kAnything);
        TRY(process.leader().run_if_full(program));
    }
    return process.leader().run_rest(program);
}

std::vector<AddrRange> absent_ranges(std::span<const MappedVma> mapped,
                                     std::span<const AddrRange> present) {
    std::vector<AddrRange> absent;
    for (const MappedVma& mapping : mapped) {
        if (!mapping.vma.carries_private_pages()) continue;
        const AddrRange range = mapping.vma.range;
        RemoteAddr from = range.start;
        while (!present.empty() && present.front().end <= from) present = present.subspan(1);
        for (auto rest = present; !rest.empty() && rest.front().start < range.end;
             rest = rest.subspan(1)) {
            if (rest.front().start > from) absent.push_back({from, rest.front().start});
            from = std::max(from, rest.front().end);
        }
        if (from < range.end) absent.push_back({from, range.end});
    }
    return absent;
}

Result<> keep_pages(StubProcess& process, std::span<const AddrRange> present) {
    return drop_pages(process, absent_ranges(process.mapped, present));
}

// Our own threads read and write, although that copies twice: the second copy finds its pages in
// the cache, and two threads can do it while the task itself could only use one.
Result<> read_pages(const StubProcess& process, int pages_fd, std::span<const FileRun> runs) {
    const std::vector<Piece> pieces = cut(runs);
    std::atomic<std::size_t> next{0};
    Result<> other;
    {
        std::optional<std::jthread> helper;
        if (pieces.size() >= kPiecesForAHelper) {
            helper.emplace([&] { other = fill_pieces(process, pages_fd, pieces, next); });
        }
        TRY(fill_pieces(process, pages_fd, pieces, next));
    }
    return other;
}

}  // namespace ferry::restore
