#include "migrate/memory_sender.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "pages/shared_with_parent.h"

namespace ferry::migrate {
namespace {

// How much is protected at once. Pages written between protection and sending cross twice, and what
// was protected long before the freeze has been written again by then: each piece is protected
// shortly before it is sent. But each costs some hundred microseconds (dump/direct_reads.h).
constexpr std::uint64_t kProtectBytesMin = 2u << 20, kProtectBytesMax = 64u << 20;
constexpr std::uint64_t kPiecesOfARound = 16;

template <class Wanted>
std::vector<AddrRange> ranges_of(const model::Process& process, Wanted is_wanted) {
    std::vector<AddrRange> ranges;
    for (const model::Vma& vma : process.address_space.vmas) {
        if (!std::invoke(is_wanted, vma)) continue;
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

// These pages with small gaps between them closed, within `mapped`: what a round goes through. An
// address space may be terabytes large and nearly empty (InnoDB reserves eight). What is written
// elsewhere after the look that gave `pages` has lost its protection, and the next look finds it.
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

// As if they had been written, where there is something.
void add_doubtful(const pages::PageSet& doubtful, std::span<const AddrRange> within,
                  pages::Changes& changes) {
    if (doubtful.empty()) return;
    const pages::PageSet there = pages::subtract(pages::intersect(doubtful, to_set(within)),
                                                 pages::unite(changes.absent, changes.guards));
    changes.written = pages::unite(changes.written, there);
}

constexpr pages::Protect kLook = pages::Protect::No;

// Below this another thread costs more than it saves (about 0.4 ms of looking).
constexpr std::uint64_t kLookAloneBytes = 512u << 20;
constexpr std::size_t kLookersMax = 8;

// Cuts ascending ranges into so many lists of about the same size, in order.
std::vector<std::vector<AddrRange>> cut(std::span<const AddrRange> ranges, std::size_t lists) {
    std::uint64_t bytes = 0;
    for (const AddrRange& range : ranges) bytes += range.size();
    const std::uint64_t share = page_align_down(bytes / lists) + kPageSize;
    std::vector<std::vector<AddrRange>> cut(1);
    std::uint64_t room = share;
    for (AddrRange rest : ranges) {
        while (!rest.empty()) {
            if (room == 0) {
                cut.emplace_back();
                room = share;
            }
            const RemoteAddr middle = rest.start + std::min(room, rest.size());
            cut.back().push_back({rest.start, middle});
            room -= middle - rest.start;
            rest.start = middle;
        }
    }
    return cut;
}

// Looks without protecting, at large address spaces with every processor. Not while the tree's
// threads make system calls for us (SourceTree::collect): in the freeze we are urgent, so are our
// threads, and those of the tree would wait until they are done.
Result<pages::Changes> look_for_changes(const pages::Tracker& tracker,
                                        std::span<const AddrRange> ranges) {
    std::uint64_t bytes = 0;
    for (const AddrRange& range : ranges) bytes += range.size();
    const std::size_t lookers =
        std::min({bytes / kLookAloneBytes + 1, kLookersMax,
                  std::size_t{std::max(std::thread::hardware_concurrency(), 1u)}});
    const auto parts = cut(ranges, lookers);
    std::vector<Result<pages::Changes>> found(parts.size());
    {
        std::vector<std::jthread> others;
        for (std::size_t i = 1; i < parts.size(); ++i) {
            others.emplace_back([&, i] { found[i] = tracker.changes(parts[i], kLook); });
        }
        found[0] = tracker.changes(parts[0], kLook);
    }
    pages::Changes all;
    for (auto& part : found) all.add(TRY(std::move(part)));
    return all;
}

}  // namespace

MemorySender::MemorySender(Link& link, UserfaultMaker make_userfault, DirectReads direct_reads,
                           Watcher watcher)
    : link_(link),
      make_userfault_(std::move(make_userfault)),
      direct_reads_(std::move(direct_reads)),
      watcher_(std::move(watcher)),
      buffer_(pages::Reader::kBatchBytes),
      shared_(
          link, [this](Pid pid) { return tracker_of(pid); }, direct_reads_,
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
              .bare_ranges = {},
              .droppable = {},
              .sent = {},
              .doubtful = {},
              .lost = false,
              .seen = {},
              .guards = {}};
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
    if (task.lost) {
        return fail(Error::unsupported(
            fmt::format("process {} has executed another program during the migration; try again",
                        process.pid)));
    }
    task.ranges = ranges_of(process, &model::Vma::carries_private_pages);
    task.file_ranges = ranges_of(process, &model::Vma::is_private_of_object);
    task.bare_ranges = ranges_of(process, [](const model::Vma& vma) {
        return vma.may_have_guards() && !vma.carries_private_pages();
    });
    task.droppable = ranges_of(process, [](const model::Vma& vma) { return vma.droppable; });
    const pages::PageSet mapped = to_set(task.ranges);
    task.sent = pages::intersect(task.sent, mapped);
    for (const model::Vma& vma : process.address_space.vmas) {
        if (!vma.carries_private_pages()) continue;
        // A range that has vanished again is found by the next skeleton, and so is the process's
        // end.
        const auto registered = task.tracker.register_range(
            vma.range,
            vma.is_private_of_object() ? pages::Backing::File : pages::Backing::Anonymous);
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

void MemorySender::compress(pages::Compression compression) {
    frame_.compress(compression);
    shared_.compress(compression);
}

Result<Moved> MemorySender::send_written(Pid pid) {
    const auto found = tasks_.find(pid);
    if (found == tasks_.end()) return Moved{};
    return send_task(found->second);
}

Result<Moved> MemorySender::send_all_written() {
    Moved moved;
    round_bytes_ = 0;
    for (auto& [pid, task] : tasks_) {
        moved += TRY(send_task(task, std::exchange(task.seen, std::nullopt)));
    }
    moved += TRY(shared_.send_changed());
    return moved;
}

Result<Moved> MemorySender::send_last() {
    Moved moved;
    round_bytes_ = 0;
    shared_.start_last_look();
    std::vector<Task*> tasks;
    for (auto& [pid, task] : tasks_) {
        if (!task.lost) tasks.push_back(&task);
    }
    // Another thread looks at the next ones while this one sends.
    std::vector<std::promise<Result<pages::Changes>>> looks(tasks.size());
    const std::jthread looker([&] {
        for (std::size_t i = 0; i < tasks.size(); ++i) {
            looks[i].set_value(look_last(*tasks[i]));
        }
    });
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        moved += TRY(send_last_of(*tasks[i], looks[i].get_future().get()));
    }
    moved += TRY(shared_.send_last());
    return moved;
}

// The kernel refuses to track such a mapping, and tracks whatever has taken its place.
Result<> MemorySender::check_droppable(Task& task) {
    if (task.tracker.method() != pages::Tracker::Method::WriteProtect) return {};
    for (const AddrRange& range : task.droppable) {
        if (!TRY(task.tracker.register_range(range, pages::Backing::Anonymous))) continue;
        return fail(Error::unsupported(
            fmt::format("process {} has replaced its MAP_DROPPABLE mapping {} during the "
                        "migration; try again",
                        task.pid, range)));
    }
    return {};
}

Result<pages::Changes> MemorySender::look_last(Task& task) {
    TRY(check_droppable(task));
    pages::Changes changes = TRY(look_for_changes(task.tracker, task.ranges));
    task.guards = pages::unite(changes.guards, TRY(task.tracker.guards(task.bare_ranges)));
    return changes;
}

void MemorySender::add_guards(model::Checkpoint& checkpoint) const {
    for (model::Process& process : checkpoint.processes) {
        const auto task = tasks_.find(process.pid);
        if (task == tasks_.end()) continue;
        const auto runs = task->second.guards.runs();
        process.address_space.guards.assign(runs.begin(), runs.end());
    }
}

Result<std::uint64_t> MemorySender::written_bytes() {
    std::uint64_t bytes = TRY(shared_.changed_bytes());
    for (auto& [pid, task] : tasks_) {
        auto changes = look_for_changes(task.tracker, task.ranges);
        if (changes) {
            bytes += changes->written.bytes();
            task.seen = std::move(*changes);
        } else if (changes.error().kind() != Error::Kind::Gone) {
            return fail(changes.error());
        }
    }
    return bytes;
}

Result<Moved> MemorySender::tolerate_gone(Task& task, Result<Moved> result) {
    if (result || result.error().kind() != Error::Kind::Gone) return result;
    task.lost = true;
    return Moved{};
}

Result<Moved> MemorySender::send_last_of(Task& task, Result<pages::Changes> looked) {
    const pages::PageSet doubtful = std::exchange(task.doubtful, {});
    if (!looked) return tolerate_gone(task, fail(std::move(looked.error())));
    add_doubtful(doubtful, task.ranges, *looked);
    return tolerate_gone(task, send_changes(task, *looked));
}

Result<Moved> MemorySender::send_task(Task& task, std::optional<pages::Changes> seen) {
    if (task.lost) return Moved{};
    const auto send = [&](Result<pages::Changes> changes) -> Result<Moved> {
        return send_changes(task, TRY(std::move(changes)));
    };
    const pages::PageSet doubtful = std::exchange(task.doubtful, {});
    if (!seen) {
        auto looked = look_for_changes(task.tracker, task.ranges);
        if (!looked) return tolerate_gone(task, fail(std::move(looked.error())));
        seen = std::move(*looked);
    }
    add_doubtful(doubtful, task.ranges, *seen);
    const pages::PageSet due =
        around(pages::unite(seen->written, sent_within(task, seen->absent)), to_set(task.ranges));
    Moved moved;
    // What is known of the task is gone through for every piece, and a task may have thousands of
    // small mappings: they share pieces.
    std::vector<AddrRange> piece;
    const std::uint64_t most = page_align_down(
        std::clamp(due.bytes() / kPiecesOfARound, kProtectBytesMin, kProtectBytesMax));
    std::uint64_t room = most;
    for (const AddrRange& range : due.runs()) {
        for (RemoteAddr at = range.start; at < range.end;) {
            piece.push_back({at, std::min(at + room, range.end)});
            room -= piece.back().size();
            at = piece.back().end;
            if (room > 0) continue;
            moved += TRY(tolerate_gone(task, send(changes_of(task, piece, doubtful))));
            piece.clear();
            room = most;
        }
    }
    if (piece.empty() || task.lost) return moved;
    moved += TRY(tolerate_gone(task, send(changes_of(task, piece, doubtful))));
    return moved;
}

Result<pages::Changes> MemorySender::changes_of(Task& task, std::span<const AddrRange> piece,
                                                const pages::PageSet& doubtful) {
    pages::Changes changes = TRY(task.tracker.changes(piece, pages::Protect::Yes));
    task.doubtful.add(TRY(direct_reads_(task.pid)));
    add_doubtful(doubtful, piece, changes);
    return changes;
}

pages::PageSet MemorySender::sent_within(const Task& task, const pages::PageSet& pages) {
    pages::PageSet sent;
    for (const pages::PageRun& run : pages.runs()) sent.add(task.sent.within(run));
    return sent;
}

Result<Moved> MemorySender::send_changes(Task& task, const pages::Changes& changes) {
    TRY(send_drops(task, sent_within(task, changes.absent)));
    return send_pages(task, changes.written);
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
    // In late rounds the destination has nearly all of them, and `sent` may have many runs.
    for (const pages::PageRun& run : sent_now.runs()) {
        if (task.sent.within(run).bytes() == run.size()) continue;
        task.sent.add(sent_now);
        break;
    }
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
