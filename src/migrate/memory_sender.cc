#include "migrate/memory_sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "pages/shared_with_parent.h"

namespace ferry::migrate {
namespace {

// How much is protected at once. Pages written between protection and sending cross twice, so the
// first rounds protect piece by piece, shortly before they send.
constexpr std::uint64_t kProtectBytes = 64u << 20;

std::vector<AddrRange> private_ranges(const model::Process& process, bool files_only) {
    std::vector<AddrRange> ranges;
    for (const model::Vma& vma : process.address_space.vmas) {
        if (!vma.carries_private_pages()) continue;
        if (files_only && vma.kind != model::VmaKind::FilePrivate) continue;
        if (!ranges.empty() && ranges.back().end == vma.range.start) {
            ranges.back().end = vma.range.end;
        } else {
            ranges.push_back(vma.range);
        }
    }
    return ranges;
}

pages::PageSet to_set(std::span<const AddrRange> ranges) {
    pages::PageSet set;
    for (const AddrRange& range : ranges) set.add(range);
    return set;
}

// Where pages are, with small gaps closed, within `mapped`: an address space may be terabytes large
// and nearly empty (InnoDB reserves eight). What is written elsewhere after `pages` was looked at
// counts as written in the next look, for it has never been protected.
pages::PageSet around(const pages::PageSet& pages, const pages::PageSet& mapped) {
    constexpr std::uint64_t kGapBytes = 1u << 20;
    pages::PageSet joined;
    for (AddrRange run : pages.runs()) {
        if (!joined.empty() && run.start - joined.runs().back().end <= kGapBytes) {
            run.start = joined.runs().back().end;
        }
        joined.add(run);
    }
    return pages::intersect(joined, mapped);
}

// Below this a second thread costs more than it saves.
constexpr std::uint64_t kScanAloneBytes = 512u << 20;

// Cuts ascending ranges where half of their bytes lie before the cut.
std::pair<std::vector<AddrRange>, std::vector<AddrRange>> halves(
    std::span<const AddrRange> ranges) {
    std::uint64_t left = 0;
    for (const AddrRange& range : ranges) left += range.size();
    left = page_align_down(left / 2);
    std::pair<std::vector<AddrRange>, std::vector<AddrRange>> cut;
    for (const AddrRange& range : ranges) {
        const RemoteAddr middle = range.start + std::min(left, range.size());
        left -= middle - range.start;
        if (middle > range.start) cut.first.push_back({range.start, middle});
        if (middle < range.end) cut.second.push_back({middle, range.end});
    }
    return cut;
}

// Scans without protecting, large address spaces by two threads. A scan without protection changes
// nothing in the tracker, so that two may run at once.
Result<pages::Scan> look_for_written(pages::Tracker& tracker,
                                     const std::vector<AddrRange>& ranges) {
    const auto [first, second] = halves(ranges);
    std::uint64_t bytes = 0;
    for (const AddrRange& range : ranges) bytes += range.size();
    if (bytes < kScanAloneBytes) return tracker.scan(ranges, pages::Protect::No);
    Result<pages::Scan> behind;
    std::jthread helper([&] { behind = tracker.scan(second, pages::Protect::No); });
    Result<pages::Scan> found = tracker.scan(first, pages::Protect::No);
    helper.join();
    if (!found) return found;
    if (!behind) return behind;
    found->add(*behind);
    return found;
}

}  // namespace

MemorySender::MemorySender(Link& link, UserfaultMaker make_userfault, Watcher watcher)
    : link_(link),
      make_userfault_(std::move(make_userfault)),
      watcher_(std::move(watcher)),
      buffer_(pages::Reader::kBatchBytes),
      shared_(
          link, [this](Pid pid) { return tracker_of(pid); },
          [this](std::uint64_t bytes) { return watcher_(round_bytes_ += bytes); }) {}

pages::Tracker* MemorySender::tracker_of(Pid pid) {
    const auto found = tasks_.find(pid);
    return found == tasks_.end() ? nullptr : &found->second.tracker;
}

Result<> MemorySender::add(const model::Process& process, Pid called,
                           std::optional<Pid> forked_from) {
    if (process.is_zombie) return {};
    os::UniqueFd userfault = TRY(make_userfault_(process.pid));
    pages::Tracker tracker = TRY(pages::Tracker::start(process.pid, std::move(userfault)));
    pages::Reader reader = TRY(pages::Reader::open(process.pid));
    Task task{.pid = process.pid,
              .called = called,
              .tracker = std::move(tracker),
              .reader = std::move(reader),
              .ranges = {},
              .file_ranges = {},
              .sent = {},
              .last_scan = {}};
    const auto [place, is_new] = tasks_.insert_or_assign(process.pid, std::move(task));
    CHECK(is_new);
    TRY(follow(process));
    if (!forked_from) return {};
    const auto parent = tasks_.find(*forked_from);
    CHECK(parent != tasks_.end());
    return inherit(place->second, parent->second);
}

void MemorySender::remove(Pid pid) {
    tasks_.erase(pid);
}

Result<> MemorySender::follow(const model::Process& process) {
    const auto found = tasks_.find(process.pid);
    if (found == tasks_.end()) return {};
    Task& task = found->second;
    task.last_scan = {};
    if (task.lost) {
        return fail(Error::unsupported(
            fmt::format("process {} has executed another program during the migration; try again",
                        process.pid)));
    }
    task.ranges = private_ranges(process, false);
    task.file_ranges = private_ranges(process, true);
    const pages::PageSet mapped = to_set(task.ranges);
    task.sent = pages::intersect(task.sent, mapped);
    for (const model::Vma& vma : process.address_space.vmas) {
        if (!vma.carries_private_pages()) continue;
        // A range that has vanished again is found by the next skeleton, and so is the process's
        // end.
        const bool has_file = vma.kind == model::VmaKind::FilePrivate;
        const auto registered = task.tracker.register_range(
            vma.range, has_file ? pages::Backing::File : pages::Backing::Anonymous);
        if (registered) continue;
        if (registered.error().kind() != Error::Kind::Gone) return fail(registered.error());
        task.lost = true;
        return {};
    }
    return {};
}

// The child's stub was forked from its parent's, and so has all that `parent.sent` names. Both are
// protected before they are compared, so that what either writes later is reported later.
Result<> MemorySender::inherit(Task& child, Task& parent) {
    child.sent = pages::intersect(parent.sent, to_set(child.ranges));
    const pages::Scan scan = TRY(child.tracker.scan(child.ranges, pages::Protect::Yes));
    const pages::PageSet same = TRY(pages::shared_with_parent(child.pid, parent.pid, scan.present));
    const pages::PageSet shared = pages::intersect(same, child.sent);
    log_debug("process {} shares {} of {} pages with its parent {}", child.pid, shared.pages(),
              scan.present.pages(), parent.pid);
    TRY(send_drops(child, pages::subtract(child.sent, scan.present)));
    TRY(send_pages(child, pages::subtract(scan.present, shared)));
    return {};
}

Result<Moved> MemorySender::send_written(Pid pid) {
    const auto found = tasks_.find(pid);
    if (found == tasks_.end()) return Moved{};
    return send_task(found->second, pages::Protect::Yes);
}

Result<Moved> MemorySender::send_all_written() {
    Moved moved;
    round_bytes_ = 0;
    for (auto& [pid, task] : tasks_) {
        task.last_scan = {};
        moved += TRY(send_task(task, pages::Protect::Yes));
    }
    moved += TRY(shared_.send_changed());
    return moved;
}

void MemorySender::start_last_scan() {
    shared_.start_last_look();
    for (auto& [pid, task] : tasks_) {
        if (task.lost) continue;
        task.last_scan = std::async(std::launch::async, look_for_written, std::ref(task.tracker),
                                    std::cref(task.ranges));
    }
}

Result<Moved> MemorySender::send_last() {
    Moved moved;
    round_bytes_ = 0;
    for (auto& [pid, task] : tasks_) {
        if (!task.last_scan.valid()) {
            moved += TRY(send_task(task, pages::Protect::No));
            continue;
        }
        const pages::Scan scan = TRY(task.last_scan.get());
        moved += TRY(send_found(task, task.ranges, scan));
    }
    moved += TRY(shared_.send_last());
    return moved;
}

Result<std::uint64_t> MemorySender::written_bytes() {
    std::uint64_t bytes = TRY(shared_.changed_bytes());
    for (auto& [pid, task] : tasks_) {
        const Result<pages::Scan> scan = look_for_written(task.tracker, task.ranges);
        if (scan) {
            bytes += scan->written.bytes();
        } else if (scan.error().kind() != Error::Kind::Gone) {
            return fail(scan.error());
        }
    }
    return bytes;
}

Result<Moved> MemorySender::send_task(Task& task, pages::Protect protect) {
    const auto tolerate_gone = [&task](Result<Moved> result) -> Result<Moved> {
        if (result || result.error().kind() != Error::Kind::Gone) return result;
        task.lost = true;
        return Moved{};
    };
    if (task.lost) return Moved{};
    if (protect == pages::Protect::No) {
        return tolerate_gone(send_scanned(task, task.ranges, protect));
    }
    const Result<pages::Scan> seen = look_for_written(task.tracker, task.ranges);
    if (!seen) return tolerate_gone(fail(seen.error()));
    const pages::PageSet inhabited =
        around(pages::unite(seen->present, task.sent), to_set(task.ranges));
    Moved moved;
    // What is known of the task is gone through for every piece, and a task may have thousands of
    // small mappings: they share pieces.
    std::vector<AddrRange> piece;
    std::uint64_t room = kProtectBytes;
    for (const AddrRange& range : inhabited.runs()) {
        for (RemoteAddr at = range.start; at < range.end;) {
            piece.push_back({at, std::min(at + room, range.end)});
            room -= piece.back().size();
            at = piece.back().end;
            if (room > 0) continue;
            moved += TRY(tolerate_gone(send_scanned(task, piece, protect)));
            piece.clear();
            room = kProtectBytes;
        }
    }
    if (piece.empty() || task.lost) return moved;
    moved += TRY(tolerate_gone(send_scanned(task, piece, protect)));
    return moved;
}

Result<Moved> MemorySender::send_scanned(Task& task, std::span<const AddrRange> ranges,
                                         pages::Protect protect) {
    return send_found(task, ranges, TRY(task.tracker.scan(ranges, protect)));
}

Result<Moved> MemorySender::send_found(Task& task, std::span<const AddrRange> ranges,
                                       const pages::Scan& scan) {
    if (!scan.guards.empty()) {
        return fail(Error::unsupported(
            fmt::format("process {}: guard pages (MADV_GUARD_INSTALL) at {} are not carried yet",
                        task.pid, scan.guards.runs().front())));
    }
    const pages::PageSet scanned = to_set(ranges);
    TRY(send_drops(task, pages::subtract(pages::intersect(task.sent, scanned), scan.present)));
    return send_pages(task, scan.written);
}

Result<Moved> MemorySender::send_pages(Task& task, const pages::PageSet& written) {
    Moved moved;
    const pages::PageSet file_backed = to_set(task.file_ranges);
    pages::PageSet sent_now;
    pages::PageSet zeroed;
    pages::Batches batches(written, {.bytes = buffer_.size(), .runs = pages::Reader::kBatchRuns});
    for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
        TRY(task.reader.read(runs, buffer_, batch_));
        moved.zero_pages += batch_.zeros.pages();
        // Anonymous zeros need no page at the destination; those that replace one are dropped
        // there.
        const pages::PageSet kept_zeros = pages::intersect(batch_.zeros, file_backed);
        zeroed.add(pages::subtract(batch_.zeros, kept_zeros));
        batch_.zeros = kept_zeros;
        if (batch_.data.empty() && batch_.zeros.empty()) continue;
        frame_.encode(pages::pages_of(task.called), batch_);
        TRY(link_.send_parts(FrameType::Pages, frame_.parts()));
        for (const pages::PagePiece& piece : batch_.data) sent_now.add(piece.run);
        sent_now.add(kept_zeros);
        moved.pages += batch_.data_bytes / kPageSize;
        moved.bytes += batch_.data_bytes;
        round_bytes_ += batch_.data_bytes;
        TRY(watcher_(round_bytes_));
    }
    TRY(send_drops(task, pages::intersect(zeroed, task.sent)));
    if (!sent_now.empty()) task.sent = pages::unite(task.sent, sent_now);
    return moved;
}

Result<> MemorySender::send_drops(Task& task, const pages::PageSet& gone) {
    if (gone.empty()) return {};
    std::span<const pages::PageRun> rest = gone.runs();
    while (!rest.empty()) {
        const std::size_t encoded = frame_.encode_drops(pages::pages_of(task.called), rest);
        CHECK(encoded > 0);
        TRY(link_.send_parts(FrameType::Pages, frame_.parts()));
        rest = rest.subspan(encoded);
    }
    task.sent = pages::subtract(task.sent, gone);
    return {};
}

}  // namespace ferry::migrate
