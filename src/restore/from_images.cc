#include "restore/from_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <ranges>
#include <variant>

#include "image/codec.h"
#include "image/page_files.h"
#include "image/store.h"
#include "os/fd.h"
#include "resources/opened_files.h"

namespace ferry::restore {
namespace {

using Clock = std::chrono::steady_clock;
using model::Checkpoint;

constexpr std::size_t kBufferBytes = 1 << 20;

std::chrono::microseconds between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration_cast<std::chrono::microseconds>(to - from);
}

Result<> check_options(const Checkpoint& checkpoint, const RestoreOptions& options) {
    if (!checkpoint.locks.empty() && !options.file_locks) {
        return fail(Error::invalid(
            fmt::format("the images hold a file lock (process {}, descriptor {}); use --file-locks "
                        "to restore it",
                        checkpoint.locks.front().pid, checkpoint.locks.front().fd)));
    }
    if (options.tcp_established) return {};
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* socket = std::get_if<model::InetSocket>(&file.body);
        if (socket == nullptr || !socket->tcp) continue;
        return fail(Error::invalid(
            fmt::format("the images hold an established TCP connection (local port {}); use "
                        "--tcp-established to restore it",
                        socket->source_port)));
    }
    return {};
}

Result<> check_late_locks(const std::vector<model::FileLock>& locks) {
    if (locks.empty()) return {};
    return fail(Error::invalid(
        fmt::format("process {}: the file that is its descriptor {} is locked by somebody else",
                    locks.front().pid, locks.front().fd)));
}

// How far each process is from the root. A process is forked from its parent's stub after the
// parent's pages are in, so that pages that both have stay shared.
std::map<Pid, int> generations(const Checkpoint& checkpoint) {
    std::map<Pid, int> depth;
    const bool at_once = checkpoint.has_early_child();
    for (const model::Process& process : checkpoint.processes) {
        const auto parent = depth.find(process.parent);
        depth[process.pid] = parent == depth.end() || at_once ? 0 : parent->second + 1;
    }
    return depth;
}

// The checkpoint without the processes below this generation.
Checkpoint up_to(const Checkpoint& whole, const std::map<Pid, int>& depth, int generation) {
    Checkpoint part = whole;
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

Result<std::uint64_t> fill(StagedTree& tree, const image::DirectoryStore& store,
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
                                  std::uint64_t id) {
    const auto pagemap = TRY(image::PagemapReader::open(store, image::PagemapId::shared(id)));
    std::vector<std::byte> buffer(kBufferBytes);
    for (const image::PageRun& run : pagemap.runs()) {
        for (std::uint64_t done = 0; done < run.range.size();) {
            const std::span<std::byte> piece = std::span(buffer).first(
                std::min<std::uint64_t>(buffer.size(), run.range.size() - done));
            TRY(os::pread_all(pagemap.pages_fd(run), piece, run.offset + done));
            TRY(tree.write_shared(id, run.range.start.value + done, piece));
            done += piece.size();
        }
    }
    return pagemap.pages();
}

}  // namespace

Result<RestoreReport> restore_from_images(const RestoreOptions& options) {
    RestoreReport report;
    const auto begin = Clock::now();
    const auto store = TRY(image::DirectoryStore::open(options.images_directory));
    const Checkpoint checkpoint = TRY(image::decode(store));
    TRY(check_options(checkpoint, options));
    report.root = checkpoint.root().pid;

    const std::map<Pid, int> depth = generations(checkpoint);
    const int deepest = std::ranges::max(depth | std::views::values);
    const StagedTree* staged_tree = nullptr;
    resources::OpenedFiles files({.shell_job = options.shell_job,
                                  .external_unix = options.external_unix,
                                  .shared_memory = [&staged_tree](std::uint64_t id) {
                                      return staged_tree != nullptr ? staged_tree->shared_memory(id)
                                                                    : -1;
                                  }});
    StageOptions stage = options.stage;
    stage.open_ghost = [&](const Checkpoint& part, model::FileId id) {
        return files.open_ghost(part, id);
    };
    auto tree = TRY(StagedTree::create(up_to(checkpoint, depth, 0), stage));
    staged_tree = &tree;
    const auto staged = Clock::now();
    for (int generation = 0; generation <= deepest; ++generation) {
        if (generation > 0) TRY(tree.update(up_to(checkpoint, depth, generation)));
        for (const model::Process& process : checkpoint.processes) {
            if (process.is_zombie || depth.at(process.pid) != generation) continue;
            report.pages += TRY(with_context(fill(tree, store, process, generation > 0),
                                             fmt::format("pages of process {}", process.pid)));
        }
    }
    for (const model::SharedMemory& memory : checkpoint.shared_memory()) {
        report.pages += TRY(with_context(fill_shared(tree, store, memory.id),
                                         fmt::format("shared memory {:#x}", memory.id)));
    }
    const auto filled = Clock::now();

    TRY(files.prepare(checkpoint));
    TRY(files.finish(checkpoint));
    const auto opened = Clock::now();
    report.activation =
        TRY(tree.activate(checkpoint, [&](model::FileId id) { return files.fd(id); }));
    TRY(check_late_locks(report.activation.late_locks));
    if (options.on_restored) options.on_restored();
    if (const auto woken = files.leave_repair(); !woken) report.warning = woken.error().message();
    TRY(std::move(tree).run(options.leave_stopped ? RunMode::Stopped : RunMode::Running));
    report.stage = between(begin, staged);
    report.fill = between(staged, filled);
    report.files = between(filled, opened);
    report.total = between(begin, Clock::now());
    return report;
}

}  // namespace ferry::restore
