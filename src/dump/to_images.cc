#include "dump/to_images.h"

#include <fmt/format.h>

#include <thread>

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

Result<Stopped> freeze_and_collect(SourceTree& tree, const ToImagesOptions& options) {
    std::string busy;
    for (int attempt = 0; attempt < kBusyAttemptsMax; ++attempt) {
        // Also the preflight of what has appeared since the last look.
        TRY(tree.skeleton());
        Frozen frozen = TRY(tree.freeze());
        if (options.on_frozen) TRY(options.on_frozen());
        Collected collected = TRY(tree.collect(frozen));
        if (collected.busy.empty()) {
            return Stopped{.frozen = std::move(frozen), .collected = std::move(collected)};
        }
        busy = collected.busy;
        if (options.on_thaw) options.on_thaw();
        TRY(std::move(frozen).thaw());
        std::this_thread::sleep_for(kBusyPause);
    }
    return fail(Error::limit(fmt::format("tried {} times: {}", kBusyAttemptsMax, busy)));
}

struct WrittenPages {
    std::uint64_t process = 0, shared = 0;
};

Result<WrittenPages> write_pages(const model::Checkpoint& checkpoint,
                                 image::DirectoryStore& store) {
    WrittenPages written;
    std::uint32_t number = 0;
    for (const model::Process& process : checkpoint.processes) {
        if (process.is_zombie) continue;
        auto writer = TRY(
            image::PagemapWriter::create(store, image::PagemapId::process(process.pid), ++number));
        TRY(with_context(dump_pages(process, writer),
                         fmt::format("pages of process {}", process.pid)));
        written.process += writer.pages_written();
        TRY(std::move(writer).finish(store));
    }
    for (const model::SharedMemory& memory : checkpoint.shared_memory()) {
        auto writer =
            TRY(image::PagemapWriter::create(store, image::PagemapId::shared(memory.id), ++number));
        TRY(with_context(dump_shared_memory(memory, writer),
                         fmt::format("shared memory {:#x}", memory.id)));
        written.shared += writer.pages_written();
        TRY(std::move(writer).finish(store));
    }
    return written;
}

Result<> end(Frozen frozen, AfterDump after) {
    switch (after) {
        case AfterDump::Kill:
            return std::move(frozen).kill();
        case AfterDump::LeaveRunning:
            return std::move(frozen).thaw();
        case AfterDump::LeaveStopped:
            return std::move(frozen).leave_stopped();
    }
    return {};
}

}  // namespace

Result<ToImagesReport> dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                      const ToImagesOptions& options) {
    Stopped stopped = TRY(freeze_and_collect(tree, options));
    const Clock::time_point begun = stopped.frozen.since();
    ToImagesReport report{.freeze = stopped.collected.times};
    const Clock::time_point memory_begun = Clock::now();
    const WrittenPages written = TRY(write_pages(stopped.collected.checkpoint, store));
    report.pages = written.process + written.shared;
    report.memory = since(memory_begun);
    const Clock::time_point write_begun = Clock::now();
    TRY(image::encode(stopped.collected.checkpoint, store));
    TRY(store.commit());
    report.write = since(write_begun);
    TRY(end(std::move(stopped.frozen), options.after));
    report.frozen = since(begun);
    if (options.work_directory >= 0) {
        TRY(image::write_stats(
            options.work_directory,
            image::DumpStats{.freezing_us = static_cast<std::uint32_t>(report.freeze.stop.count()),
                             .frozen_us = static_cast<std::uint32_t>(report.frozen.count()),
                             .memory_us = static_cast<std::uint32_t>(report.memory.count()),
                             .write_us = static_cast<std::uint32_t>(report.write.count()),
                             .pages_scanned = written.process,
                             .pages_written = written.process,
                             .shared_pages_written = written.shared}));
    }
    log_debug("dumped {} pages: stop {} us, tasks {} us, files {} us, memory {} us, write {} us",
              report.pages, report.freeze.stop.count(), report.freeze.tasks.count(),
              report.freeze.files.count(), report.memory.count(), report.write.count());
    return report;
}

}  // namespace ferry::dump
