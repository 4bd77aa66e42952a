#include "restore/from_images.h"

#include <fmt/format.h>

#include <variant>

#include "base/log.h"
#include "image/codec.h"
#include "image/page_files.h"
#include "image/store.h"
#include "resources/opened_files.h"
#include "restore/clocks.h"
#include "restore/image_filler.h"

namespace ferry::restore {
namespace {

using Clock = std::chrono::steady_clock;
using model::Checkpoint;

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

std::uint32_t micros(std::chrono::microseconds time) {
    return static_cast<std::uint32_t>(time.count());
}

void write_statistics(const RestoreOptions& options, const RestoreReport& report) {
    if (options.work_directory < 0) return;
    image::RestoreStats stats;
    stats.pages_restored = report.pages;
    stats.forking_us = micros(report.stage);
    stats.restore_us = micros(report.total);
    const Result<> written = image::write_stats(options.work_directory, stats);
    // The tree runs; statistics cannot take that back.
    if (!written) log_warn("stats-restore: {}, ignoring", written.error().message());
}

Result<> check_late_locks(const std::vector<model::FileLock>& locks) {
    if (locks.empty()) return {};
    return fail(Error::invalid(
        fmt::format("process {}: the file that is its descriptor {} is locked by somebody else",
                    locks.front().pid, locks.front().fd)));
}

}  // namespace

Result<RestoreReport> restore_from_images(const RestoreOptions& options) {
    RestoreReport report;
    const auto begin = Clock::now();
    const auto store = TRY(image::DirectoryStore::open(options.images_directory));
    Checkpoint checkpoint = TRY(image::decode(store));
    TRY(take_aio_rings(store, checkpoint));
    TRY(check_options(checkpoint, options));
    report.root = checkpoint.root().pid;

    const ImageFiller filler(checkpoint, store);
    const StagedTree* staged_tree = nullptr;
    resources::OpenedFiles files(
        {.shell_job = options.shell_job,
         .external_unix = options.external_unix,
         .shared_memory =
             [&staged_tree](std::uint64_t id) {
                 return staged_tree != nullptr ? staged_tree->shared_memory(id) : -1;
             },
         .terminal_master =
             [&staged_tree](std::uint32_t index) {
                 return staged_tree != nullptr ? staged_tree->terminal_master(index) : -1;
             },
         .given_stream = options.given_stream});
    StageOptions stage = options.stage;
    stage.clocks = TRY(offsets_for(checkpoint, std::nullopt));
    stage.open_ghost = [&](const Checkpoint& part, model::FileId id) {
        return files.open_ghost(part, id);
    };
    if (options.stage.start_root) {
        stage.start_root = [&](const RootImage& image) -> Result<Pid> {
            const Pid root = TRY(options.stage.start_root(image));
            files.settle_in(TRY(resources::Surroundings::of(root)));
            return root;
        };
    }
    auto tree = TRY(StagedTree::create(filler.first_generation(), stage));
    staged_tree = &tree;
    report.loss = tree.loss();
    const auto staged = Clock::now();
    report.pages = TRY(filler.fill(tree));
    const auto filled = Clock::now();

    if (options.on_filled) TRY(options.on_filled());
    TRY(files.prepare(checkpoint));
    TRY(files.finish(checkpoint));
    const auto opened = Clock::now();
    report.activation = TRY(tree.activate(
        checkpoint, [&](model::FileId id) { return files.fd(id); },
        [&](const Checkpoint& final) { return files.open_pidfds(final); }));
    TRY(check_late_locks(report.activation.late_locks));
    if (const auto settled = files.settle_connections(); !settled) {
        report.warning = settled.error().message();
    }
    if (options.on_restored) TRY(options.on_restored());
    if (const auto woken = files.leave_repair(); !woken) report.warning = woken.error().message();
    TRY(std::move(tree).run(options.leave_stopped ? RunMode::Stopped : RunMode::Running));
    report.stage = between(begin, staged);
    report.fill = between(staged, filled);
    report.files = between(filled, opened);
    report.total = between(begin, Clock::now());
    write_statistics(options, report);
    return report;
}

}  // namespace ferry::restore
