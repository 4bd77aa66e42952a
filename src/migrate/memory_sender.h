// The source's half of the memory: what each process has, what the destination has, and the rounds
// that bring the second up to the first. Rules that keep it right:
//
//   * Protect, then read (pages/tracker.h): no write is lost. What a device may still write to when
//     pages have been protected is sent once more in the next round.
//   * The destination's pages of a process are `sent`. A page in it that the source no longer has
//   is
//     dropped there.
//   * A page of zeros is not sent, unless the destination has something else there or the page
//   hides
//     a file's content.
//   * A child that appears is forked at the destination from its parent's stub. Before that, its
//     parent is sent once more; afterwards only pages that the child does not share go across
//     (pages/shared_with_parent.h).
//   * Guard pages are made at the destination in the end, when all pages are there: until then they
//   are
//     pages that the source does not have.
//   * What processes share without a file goes by itself (migrate/shared_sender.h).
//
// Used by one thread. Destroying it ends all tracking (I1).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "migrate/link.h"
#include "migrate/moved.h"
#include "migrate/shared_sender.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "pages/page_wire.h"
#include "pages/reader.h"
#include "pages/run.h"
#include "pages/tracker.h"

namespace ferry::migrate {

class MemorySender {
  public:
    // Makes a userfaultfd inside a process and takes it out (dump::SourceTree).
    using UserfaultMaker = std::function<Result<os::UniqueFd>(Pid)>;
    // Pages that system calls under way in a process may fill by themselves (dump/direct_reads.h).
    using DirectReads = std::function<Result<pages::PageSet>(Pid)>;
    // Called between batches with the bytes sent so far in this round; an error ends the round.
    using Watcher = std::function<Result<>(std::uint64_t bytes)>;

    MemorySender(Link& link, UserfaultMaker make_userfault, DirectReads direct_reads,
                 Watcher watcher);

    // A process that the destination has just staged, and what it is called there. `forked_from`:
    // its stub was forked from that process's stub, whose memory had been sent; nullopt: its stub
    // is empty. Tracking starts here.
    Result<> add(const model::Process& process, Pid called, std::optional<Pid> forked_from);
    void remove(Pid pid);
    // The mappings as the destination has them now. Pages outside of them are gone there.
    Result<> follow(const model::Process& process);
    // The same for shared memory, of all processes of the layout.
    Result<> follow_shared(const model::Checkpoint& layout) { return shared_.follow(layout); }

    // Of the pages that are sent from now on.
    void compress(pages::Compression compression);

    // Sends what was written since the last round. A process that ends meanwhile is no error: the
    // next skeleton does not have it.
    Result<Moved> send_written(Pid pid);
    Result<Moved> send_all_written();
    // In the freeze, every thread stopped: as send_all_written(), without protecting anew.
    Result<Moved> send_last();
    // What send_last() has seen of guard pages, for the checkpoint that is sent after it.
    void add_guards(model::Checkpoint& checkpoint) const;
    // What a round would have to send now, which the next one begins with.
    Result<std::uint64_t> written_bytes();

  private:
    struct Task {
        Pid pid;
        Pid called;  // at the destination
        pages::Tracker tracker;
        pages::Reader reader;
        std::vector<AddrRange> ranges;       // of private mappings, ascending
        std::vector<AddrRange> file_ranges;  // those among them that show a file or an object
        std::vector<AddrRange> bare_ranges;  // other mappings, which may have guard pages
        std::vector<AddrRange> droppable;    // those of them that are MAP_DROPPABLE
        pages::PageSet sent;                 // pages that the destination has
        pages::PageSet doubtful;             // may have been filled after they were sent
        bool lost = false;                   // it has exited, or replaced its address space
        std::optional<pages::Changes> seen;  // by the last written_bytes(), for the next round
        pages::PageSet guards;               // seen by send_last()
    };

    [[nodiscard]] pages::Tracker* tracker_of(Pid pid);
    // Goes through what `seen` has, or a look of its own finds; what was written elsewhere since is
    // left for the next time. A parent whose child is about to be forked at the destination needs a
    // look that is younger than the fork.
    Result<Moved> send_task(Task& task, std::optional<pages::Changes> seen = std::nullopt);
    // In the freeze, by any thread, without protecting anew. Unsupported: a mapping whose content
    // was left behind is not MAP_DROPPABLE any more.
    static Result<pages::Changes> look_last(Task& task);
    static Result<> check_droppable(Task& task);
    // In the freeze: all that is in `looked`, without protecting anew.
    Result<Moved> send_last_of(Task& task, Result<pages::Changes> looked);
    // A process that is gone is marked as lost.
    static Result<Moved> tolerate_gone(Task& task, Result<Moved> result);
    // What is in a piece of a round, protected. `doubtful`: of the round before.
    Result<pages::Changes> changes_of(Task& task, std::span<const AddrRange> piece,
                                      const pages::PageSet& doubtful);
    Result<Moved> send_changes(Task& task, const pages::Changes& changes);
    [[nodiscard]] static pages::PageSet sent_within(const Task& task, const pages::PageSet& pages);
    Result<Moved> send_pages(Task& task, const pages::PageSet& written);
    Result<> send_drops(Task& task, const pages::PageSet& gone);
    Result<> inherit(Task& child, Task& parent);

    Link& link_;
    UserfaultMaker make_userfault_;
    DirectReads direct_reads_;
    Watcher watcher_;
    std::map<Pid, Task> tasks_;
    std::vector<std::byte> buffer_;
    pages::PageBatch batch_;
    pages::PageFrame frame_;
    std::uint64_t round_bytes_ = 0;
    SharedSender shared_;
};

}  // namespace ferry::migrate
