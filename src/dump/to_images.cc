#include "dump/to_images.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dump/page_dump.h"
#include "dump/shared_dump.h"
#include "image/codec.h"
#include "image/page_files.h"

namespace ferry::dump {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// A connection that waits to be accepted is gone after some turns of the service's event loop.
constexpr int kBusyAttemptsMax = 20;
constexpr std::chrono::milliseconds kBusyPause{5};

microseconds since(Clock::time_point begun) {
    return std::chrono::duration_cast<microseconds>(Clock::now() - begun);
}

struct Stopped {
    Frozen frozen;
    Collected collected;
};

Result<> let_run(Frozen frozen, const ToImagesOptions& options) {
    if (options.on_thaw) options.on_thaw();
    const Result<> thawed = std::move(frozen).thaw();
    if (options.on_thawed) options.on_thawed();
    return thawed;
}

// What went wrong is what the caller hears of.
std::unexpected<Error> let_run(Frozen frozen, const ToImagesOptions& options, Error error) {
    if (const Result<> thawed = let_run(std::move(frozen), options); !thawed) {
        log_error("thawing: {}", thawed.error().message());
    }
    return fail(std::move(error));
}

Result<Collected> lock_and_collect(SourceTree& tree, Frozen& frozen,
                                   const ToImagesOptions& options) {
    if (options.on_frozen) TRY(options.on_frozen());
    return tree.collect(frozen);
}

Result<Stopped> freeze_and_collect(SourceTree& tree, const ToImagesOptions& options) {
    std::string busy;
    for (int attempt = 0; attempt < kBusyAttemptsMax; ++attempt) {
        // Also the preflight of what has appeared since the last look: the tree has just been
        // opened.
        if (attempt > 0) TRY(tree.skeleton());
        Frozen frozen = TRY(tree.freeze());
        auto collected = lock_and_collect(tree, frozen, options);
        if (!collected) return let_run(std::move(frozen), options, std::move(collected.error()));
        if (collected->busy.empty()) {
            return Stopped{.frozen = std::move(frozen), .collected = std::move(*collected)};
        }
        busy = collected->busy;
        TRY(let_run(std::move(frozen), options));
        std::this_thread::sleep_for(kBusyPause);
    }
    return fail(Error::limit(fmt::format("tried {} times: {}", kBusyAttemptsMax, busy)));
}

// The pages of a process or of a shared memory, and where they go.
struct PageJob {
    std::function<Result<>(image::PagemapWriter&)> dump;
    image::PagemapWriter writer;
    std::uint64_t* count;  // grows by the pages written
    Result<> done = {};
};

// Takes jobs until none is left or somebody has failed.
void dump_jobs(std::span<PageJob> jobs, std::atomic<std::size_t>& next) {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
        PageJob& job = jobs[i];
        job.done = job.dump(job.writer);
        if (!job.done) next = jobs.size();
    }
}

Result<> write_pages(const SourceTree& tree, const model::Checkpoint& checkpoint,
                     image::DirectoryStore& store, WrittenImages& written) {
    std::uint32_t number = 0;
    std::vector<PageJob> jobs;
    for (const model::Process& process : checkpoint.processes) {
        if (process.is_zombie) continue;
        const Pid inside = TRY(tree.number_from_inside(process.pid));
        jobs.push_back({.dump =
                            [&process](image::PagemapWriter& into) {
                                return with_context(
                                    dump_pages(process, into),
                                    fmt::format("pages of process {}", process.pid));
                            },
                        .writer = TRY(image::PagemapWriter::create(
                            store, image::PagemapId::process(inside), ++number)),
                        .count = &written.process_pages});
    }
    const std::vector<model::SharedMemory> shared = checkpoint.shared_memory();
    for (const model::SharedMemory& memory : shared) {
        jobs.push_back({.dump =
                            [&memory](image::PagemapWriter& into) {
                                return with_context(dump_shared_memory(memory, into),
                                                    fmt::format("shared memory {:#x}", memory.id));
                            },
                        .writer = TRY(image::PagemapWriter::create(
                            store, image::PagemapId::shared(memory.label), ++number)),
                        .count = &written.shared_pages});
    }
    std::atomic<std::size_t> next{0};
    {
        std::optional<std::jthread> helper;
        if (jobs.size() > 1) helper.emplace([&] { dump_jobs(jobs, next); });
        dump_jobs(jobs, next);
    }
    for (PageJob& job : jobs) {
        TRY(std::move(job.done));
        *job.count += job.writer.pages_written();
        TRY(std::move(job.writer).finish(store));
    }
    return {};
}

Result<> end(Frozen frozen, const ToImagesOptions& options) {
    switch (options.after) {
        case AfterDump::Kill:
            if (options.on_kill) {
                auto ready = options.on_kill();
                if (!ready) return let_run(std::move(frozen), options, std::move(ready.error()));
            }
            return std::move(frozen).kill();
        case AfterDump::LeaveRunning:
            return let_run(std::move(frozen), options);
        case AfterDump::LeaveStopped:
            break;
    }
    if (options.on_thaw) options.on_thaw();
    const Result<> left = std::move(frozen).leave_stopped();
    if (options.on_thawed) options.on_thawed();
    return left;
}

}  // namespace

Result<WrittenImages> write_images(const SourceTree& tree, const model::Checkpoint& collected,
                                   image::DirectoryStore& store,
                                   const std::function<Result<>(image::ImageStore&)>& also_write) {
    WrittenImages written;
    const Clock::time_point begun = Clock::now();
    TRY(write_pages(tree, collected, store, written));
    written.memory = since(begun);
    const Clock::time_point write_begun = Clock::now();
    model::Checkpoint numbered = collected;
    TRY(tree.number_from_inside(numbered));
    TRY(image::encode(numbered, store));
    if (also_write) TRY(also_write(store));
    TRY(tree.check_aio(collected));
    TRY(store.commit());
    written.write = since(write_begun);
    return written;
}

Result<ToImagesReport> dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                      const ToImagesOptions& options) {
    Stopped stopped = TRY(freeze_and_collect(tree, options));
    const Clock::time_point begun = stopped.frozen.since();
    auto written = write_images(tree, stopped.collected.checkpoint, store, options.also_write);
    if (!written) {
        return let_run(std::move(stopped.frozen), options, std::move(written.error()));
    }
    ToImagesReport report{.pages = written->process_pages + written->shared_pages,
                          .memory = written->memory,
                          .write = written->write,
                          .freeze = stopped.collected.times};
    TRY(end(std::move(stopped.frozen), options));
    report.frozen = since(begun);
    if (options.work_directory >= 0) {
        TRY(image::write_stats(
            options.work_directory,
            image::DumpStats{.freezing_us = static_cast<std::uint32_t>(report.freeze.stop.count()),
                             .frozen_us = static_cast<std::uint32_t>(report.frozen.count()),
                             .memory_us = static_cast<std::uint32_t>(report.memory.count()),
                             .write_us = static_cast<std::uint32_t>(report.write.count()),
                             .pages_scanned = written->process_pages,
                             .pages_written = written->process_pages,
                             .shared_pages_written = written->shared_pages}));
    }
    log_debug("dumped {} pages: stop {} us, tasks {} us, files {} us, memory {} us, write {} us",
              report.pages, report.freeze.stop.count(), report.freeze.tasks.count(),
              report.freeze.files.count(), report.memory.count(), report.write.count());
    return report;
}

}  // namespace ferry::dump
