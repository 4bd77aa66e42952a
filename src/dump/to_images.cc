#include "dump/to_images.h"

#include <fmt/format.h>

#include <thread>
#include <vector>

#include "base/log.h"
#include "dump/all_pages.h"
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

std::uint32_t micros(microseconds time) {
    return static_cast<std::uint32_t>(time.count());
}

Result<> write_statistics(int work_directory, const ToImagesReport& report,
                          const PageFigures& pages) {
    if (work_directory < 0) return {};
    return image::write_stats(
        work_directory,
        image::DumpStats{.freezing_us = micros(report.freeze.stop),
                         .frozen_us = micros(report.frozen),
                         .memory_us = micros(report.memory),
                         .write_us = micros(report.write),
                         .pages_scanned = pages.process_pages + pages.process_pages_in_parent,
                         .pages_written = pages.process_pages,
                         .shared_pages_written = pages.shared_pages,
                         .pages_skipped_parent = pages.process_pages_in_parent,
                         .shared_pages_skipped_parent = pages.shared_pages_in_parent});
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
                                   image::DirectoryStore& store, const std::string& parent,
                                   const AlsoWrite& also_write) {
    WrittenImages written;
    const Clock::time_point begun = Clock::now();
    written.pages = TRY(write_all_pages(tree, collected, Stillness::StandsStill, parent, store));
    written.memory = since(begun);
    const Clock::time_point write_begun = Clock::now();
    model::Checkpoint numbered = collected;
    for (model::Process& process : numbered.processes) {
        const auto guards = written.pages.guards.find(process.pid);
        if (guards != written.pages.guards.end()) process.address_space.guards = guards->second;
    }
    TRY(tree.number_from_inside(numbered));
    TRY(image::encode(numbered, store));
    if (also_write) TRY(also_write(collected, store));
    TRY(tree.check_aio(collected));
    TRY(store.commit());
    written.write = since(write_begun);
    return written;
}

Result<ToImagesReport> pre_dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                          const PreDumpOptions& options) {
    const Clock::time_point begun = Clock::now();
    const model::Checkpoint skeleton = TRY(tree.skeleton());
    const PageFigures pages =
        TRY(write_all_pages(tree, skeleton, Stillness::Runs, options.parent, store));
    TRY(image::encode_inventory(skeleton, store));
    TRY(store.commit());
    ToImagesReport report{.pages = pages.process_pages + pages.shared_pages, .freeze = {}};
    report.memory = since(begun);
    TRY(write_statistics(options.work_directory, report, pages));
    return report;
}

Result<ToImagesReport> dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                      const ToImagesOptions& options) {
    Stopped stopped = TRY(freeze_and_collect(tree, options));
    const Clock::time_point begun = stopped.frozen.since();
    auto written =
        write_images(tree, stopped.collected.checkpoint, store, options.parent, options.also_write);
    if (!written) {
        return let_run(std::move(stopped.frozen), options, std::move(written.error()));
    }
    ToImagesReport report{.pages = written->pages.process_pages + written->pages.shared_pages,
                          .memory = written->memory,
                          .write = written->write,
                          .freeze = stopped.collected.times};
    TRY(end(std::move(stopped.frozen), options));
    report.frozen = since(begun);
    TRY(write_statistics(options.work_directory, report, written->pages));
    log_debug("dumped {} pages: stop {} us, tasks {} us, files {} us, memory {} us, write {} us",
              report.pages, report.freeze.stop.count(), report.freeze.tasks.count(),
              report.freeze.files.count(), report.memory.count(), report.write.count());
    return report;
}

}  // namespace ferry::dump
