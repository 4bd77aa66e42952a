#include "restore/filler.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "os/memory.h"

namespace ferry::restore {
namespace {

constexpr std::size_t kVectorMax = 1024;  // IOV_MAX
// What the host reads or compares at a time; stays in the second-level cache.
constexpr std::size_t kChunkBytes = 512 << 10;
// A read(2) moves at most 2 GiB less a page.
constexpr std::uint64_t kReadBytesMax = 1u << 30;
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
            const std::size_t n = TRY(os::process_vm_writev(process_.pid, local, remote));
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

// Pages that the host must read itself, because the task cannot (no right to write) or should not
// (they may be shared).
Result<> read_through_host(const StubProcess& process, int pages_fd, FileRun run,
                           std::vector<std::byte>& buffer) {
    while (run.bytes > 0) {
        buffer.resize(std::min<std::uint64_t>(run.bytes, kChunkBytes));
        TRY(os::pread_all(pages_fd, buffer, run.offset));
        const PageWrite write{.address = run.address, .bytes = buffer};
        TRY(write_pages(process, std::span(&write, 1)));
        run.address = run.address + buffer.size();
        run.offset += buffer.size();
        run.bytes -= buffer.size();
    }
    return {};
}

// Programs of pread64(2) that share one descriptor.
class FileReads {
  public:
    FileReads(StubProcess& process, int pages_fd) : process_(process), pages_fd_(pages_fd) {}

    Result<> add(const FileRun& run) {
        if (!received_) {
            received_.emplace(program_, process_.leader().socket_number(), 1);
        }
        program_.call("pread64", SYS_pread64,
                      {received_->fd(0), run.address, run.bytes, run.offset},
                      exactly(static_cast<std::int64_t>(run.bytes)));
        if (program_.bytes() < process_.leader().capacity() * 3 / 4) return {};
        return flush();
    }

    Result<> flush() {
        if (!received_) return {};
        program_.call("close", SYS_close, {received_->fd(0)});
        TRY(process_.leader().run(program_, std::span(&pages_fd_, 1)));
        program_.clear();
        received_.reset();
        return {};
    }

  private:
    StubProcess& process_;
    int pages_fd_;
    Program program_;
    std::optional<Receiver> received_;
};

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

Result<> read_pages(StubProcess& process, int pages_fd, std::span<const FileRun> runs) {
    FileReads reads(process, pages_fd);
    std::vector<std::byte> buffer;
    for (FileRun run : runs) {
        while (run.bytes > 0) {
            const Place place = TRY(place_of(process, run.address, run.bytes));
            FileRun part = run;
            part.bytes = std::min(place.bytes, kReadBytesMax);
            if (process.shares_pages || !is_writable(*place.mapped)) {
                TRY(read_through_host(process, pages_fd, part, buffer));
            } else {
                TRY(reads.add(part));
            }
            run.address = run.address + part.bytes;
            run.offset += part.bytes;
            run.bytes -= part.bytes;
        }
    }
    return reads.flush();
}

}  // namespace ferry::restore
