#include "pages/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "os/memory.h"

namespace ferry::pages {
namespace {

// 64 bytes at once: the compiler makes vector operations of it.
bool is_zero_block(const std::byte* block) {
    std::array<std::uint64_t, 8> words;
    std::memcpy(words.data(), block, sizeof(words));
    std::uint64_t any = 0;
    for (const std::uint64_t word : words) any |= word;
    return any == 0;
}

// Appends pages that follow each other in the process and in the buffer to one piece.
void add_piece(PageBatch& batch, PageRun run, std::span<const std::byte> bytes) {
    batch.data_bytes += run.size();
    if (!batch.data.empty()) {
        PagePiece& last = batch.data.back();
        if (last.run.end == run.start && last.bytes.data() + last.bytes.size() == bytes.data()) {
            last.run.end = run.end;
            last.bytes = {last.bytes.data(), last.bytes.size() + bytes.size()};
            return;
        }
    }
    batch.data.push_back({.run = run, .bytes = bytes});
}

// Sorts what was read into data and zeros, in stretches as long as possible.
void add_pages(PageBatch& batch, PageRun run, std::span<const std::byte> bytes) {
    const auto page_is_zero = [&](std::uint64_t offset) {
        return is_zero_page(bytes.subspan(offset).first<kPageSize>());
    };
    std::uint64_t offset = 0;
    while (offset < run.size()) {
        const bool zero = page_is_zero(offset);
        std::uint64_t end = offset + kPageSize;
        while (end < run.size() && page_is_zero(end) == zero) end += kPageSize;
        const PageRun part = {run.start + offset, run.start + end};
        if (zero) {
            batch.zeros.add(part);
        } else {
            add_piece(batch, part, bytes.subspan(offset, end - offset));
        }
        offset = end;
    }
}

}  // namespace

void PageBatch::clear() {
    data.clear();
    zeros.clear();
    missing.clear();
    data_bytes = 0;
}

bool is_zero_page(std::span<const std::byte, kPageSize> page) {
    // Most pages that are not zero show it at the start or at the end.
    if (!is_zero_block(page.data()) || !is_zero_block(page.data() + kPageSize - 64)) return false;
    for (std::size_t offset = 64; offset < kPageSize - 64; offset += 64) {
        if (!is_zero_block(page.data() + offset)) return false;
    }
    return true;
}

Result<Reader> Reader::open(Pid pid) {
    Result<os::UniqueFd> memory = os::open(fmt::format("/proc/{}/mem", pid), O_RDONLY);
    if (memory) return Reader(pid, std::move(*memory));
    const int code = memory.error().code();
    if (code == ENOENT || code == ESRCH) {
        return fail(Error::gone(fmt::format("process {} does not exist", pid)));
    }
    return fail(std::move(memory.error()));
}

// Reads from `skip` bytes into runs[first] on, as many runs as one call takes. Returns the whole
// pages read before the first one that could not be; 0: the very first could not.
Result<std::uint64_t> Reader::read_from(std::size_t first, std::uint64_t skip,
                                        std::span<const PageRun> runs, std::span<std::byte> into) {
    std::array<iovec, kBatchRuns> remote;
    std::size_t count = 0;
    std::uint64_t bytes = 0;
    for (const PageRun& run : runs.subspan(first, std::min(kBatchRuns, runs.size() - first))) {
        const RemoteAddr start = count == 0 ? run.start + skip : run.start;
        // process_vm_readv(2) wants the address as a pointer; it is never followed here.
        remote[count++] = {.iov_base = std::bit_cast<void*>(start.value),
                           .iov_len = run.end - start};
        bytes += run.end - start;
    }
    const iovec local = {.iov_base = into.data(), .iov_len = bytes};
    const Result<std::size_t> n =
        os::process_vm_readv(pid_, std::span(&local, 1), std::span(remote).first(count));
    if (n) return page_align_down(*n);
    if (n.error().code() == EFAULT) return 0;
    return fail(n.error());
}

Result<> Reader::read(std::span<const PageRun> runs, std::span<std::byte> into, PageBatch& batch) {
    std::uint64_t total = 0;
    for (const PageRun& run : runs) total += run.size();
    CHECK(total <= into.size());
    batch.clear();

    std::size_t at = 0;      // the run that is being read
    std::uint64_t done = 0;  // bytes of it that have been
    while (at < runs.size()) {
        std::uint64_t n = TRY(read_from(at, done, runs, into));
        if (n == 0) {
            // This page is gone or not readable by ordinary means.
            const RemoteAddr address = runs[at].start + done;
            const Result<std::size_t> forced =
                os::pread(memory_.get(), into.first(kPageSize), address.value);
            if (forced && *forced == kPageSize) {
                n = kPageSize;
            } else {
                batch.missing.add({address, address + kPageSize});
                done += kPageSize;
            }
        }
        while (n > 0) {
            const PageRun& run = runs[at];
            const std::uint64_t part = std::min(n, run.size() - done);
            add_pages(batch, {run.start + done, run.start + done + part}, into.first(part));
            into = into.subspan(part);
            done += part;
            n -= part;
            if (done == run.size() && n > 0) {
                ++at;
                done = 0;
            }
        }
        if (done == runs[at].size()) {
            ++at;
            done = 0;
        }
    }
    return {};
}

}  // namespace ferry::pages
