#include "restore/image_filler.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ranges>
#include <span>
#include <vector>

#include "image/page_files.h"
#include "os/fd.h"

namespace ferry::restore {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

// How far each process is from the root. A process is forked from its parent's stub after the
// parent's pages are in, so that pages that both have stay shared.
std::map<Pid, int> generations(const model::Checkpoint& checkpoint) {
    std::map<Pid, int> depth;
    const bool at_once = checkpoint.has_early_child();
    for (const model::Process& process : checkpoint.processes) {
        const auto parent = depth.find(process.parent);
        depth[process.pid] = parent == depth.end() || at_once ? 0 : parent->second + 1;
    }
    return depth;
}

// The checkpoint without the processes below this generation.
model::Checkpoint up_to(const model::Checkpoint& whole, const std::map<Pid, int>& depth,
                        int generation) {
    model::Checkpoint part = whole;
    std::erase_if(part.processes, [&](const model::Process& process) {
        return depth.at(process.pid) > generation;
    });
    return part;
}

// The parts of a run that the process maps privately. CRIU's images hold the vdso's pages, too,
// which we never write.
void add_private_parts(const model::Process& process, const image::PageRun& run,
                       std::vector<FileRun>& parts) {
    const auto& vmas = process.address_space.vmas;
    auto vma = std::ranges::upper_bound(vmas, run.range.start, {},
                                        [](const model::Vma& v) { return v.range.end; });
    for (; vma != vmas.end() && vma->range.start < run.range.end; ++vma) {
        if (!vma->carries_private_pages()) continue;
        const RemoteAddr start = std::max(vma->range.start, run.range.start);
        const RemoteAddr end = std::min(vma->range.end, run.range.end);
        parts.push_back({.address = start,
                         .bytes = end - start,
                         .offset = run.offset + (start - run.range.start)});
    }
}

Result<std::uint64_t> fill_process(StagedTree& tree, const image::DirectoryStore& store,
                                   const model::Process& process, bool is_forked) {
    const auto pagemap =
        TRY(image::PagemapReader::open(store, image::PagemapId::process(process.pid)));
    if (is_forked) {
        std::vector<AddrRange> present;
        for (const image::PageRun& run : pagemap.runs()) present.push_back(run.range);
        TRY(tree.keep_pages(process.pid, present));
    }
    // One call for neighbours that come from the same file.
    std::vector<FileRun> runs;
    int pages_fd = -1;
    const auto flush = [&]() -> Result<> {
        if (!runs.empty()) TRY(tree.read_pages(process.pid, pages_fd, runs));
        runs.clear();
        return {};
    };
    for (const image::PageRun& run : pagemap.runs()) {
        if (pagemap.pages_fd(run) != pages_fd) TRY(flush());
        pages_fd = pagemap.pages_fd(run);
        add_private_parts(process, run, runs);
    }
    TRY(flush());
    return pagemap.pages();
}

Result<std::uint64_t> fill_shared(StagedTree& tree, const image::DirectoryStore& store,
                                  const model::SharedMemory& memory) {
    const auto pagemap =
        TRY(image::PagemapReader::open(store, image::PagemapId::shared(memory.label)));
    std::vector<std::byte> buffer(kBufferBytes);
    for (const image::PageRun& run : pagemap.runs()) {
        for (std::uint64_t done = 0; done < run.range.size();) {
            const std::span<std::byte> piece = std::span(buffer).first(
                std::min<std::uint64_t>(buffer.size(), run.range.size() - done));
            TRY(os::pread_all(pagemap.pages_fd(run), piece, run.offset + done));
            TRY(tree.write_shared(memory.id, run.range.start.value + done, piece));
            done += piece.size();
        }
    }
    return pagemap.pages();
}

}  // namespace

Result<> take_aio_rings(const image::DirectoryStore& store, model::Checkpoint& checkpoint) {
    constexpr std::uint64_t kRingBytesMax = 64u << 20;  // fs.aio-max-nr is 65,536 by default
    for (model::Process& process : checkpoint.processes) {
        std::vector<AddrRange> rings;
        for (const model::Vma& vma : process.address_space.vmas) {
            if (vma.kind == model::VmaKind::AioRing) rings.push_back(vma.range);
        }
        if (rings.size() == process.aio_rings.size()) continue;
        process.aio_rings.clear();
        const auto pagemap =
            TRY(image::PagemapReader::open(store, image::PagemapId::process(process.pid)));
        for (const AddrRange& range : rings) {
            if (range.size() > kRingBytesMax) return fail(Error::limit("an aio ring's size"));
            model::AioRing ring = {.address = range.start.value,
                                   .content = model::Bytes(range.size())};
            for (const image::PageRun& run : pagemap.runs()) {
                const RemoteAddr start = std::max(run.range.start, range.start);
                const RemoteAddr end = std::min(run.range.end, range.end);
                if (start >= end) continue;
                TRY(os::pread_all(pagemap.pages_fd(run),
                                  std::span(ring.content).subspan(start - range.start, end - start),
                                  run.offset + (start - run.range.start)));
            }
            process.aio_rings.push_back(std::move(ring));
        }
    }
    return {};
}

ImageFiller::ImageFiller(const model::Checkpoint& checkpoint, const image::DirectoryStore& store)
    : checkpoint_(checkpoint), store_(store), generations_(generations(checkpoint)) {}

model::Checkpoint ImageFiller::first_generation() const {
    return up_to(checkpoint_, generations_, 0);
}

Result<std::uint64_t> ImageFiller::fill(StagedTree& tree) const {
    std::uint64_t pages = 0;
    const int deepest = std::ranges::max(generations_ | std::views::values);
    for (int generation = 0; generation <= deepest; ++generation) {
        if (generation > 0) TRY(tree.update(up_to(checkpoint_, generations_, generation)));
        for (const model::Process& process : checkpoint_.processes) {
            if (process.is_zombie || generations_.at(process.pid) != generation) continue;
            pages += TRY(with_context(fill_process(tree, store_, process, generation > 0),
                                      fmt::format("pages of process {}", process.pid)));
        }
    }
    for (const model::SharedMemory& memory : checkpoint_.shared_memory()) {
        pages += TRY(with_context(fill_shared(tree, store_, memory),
                                  fmt::format("shared memory {:#x}", memory.id)));
    }
    return pages;
}

}  // namespace ferry::restore
