// The source's half of the memory that processes share without a file: each object is sent once,
// whoever has it, by its number and offsets in it (pages/page_wire.h, PageSpace::Shared).
//
// What is looked at is compared with what was sent (pages/shared_object.h says why that misses no
// write). Objects up to kCompareBytes, memfds, whose open files write without any page table, and
// System V segments that nobody has attached are looked at whole each time. Of larger ones only
// those pages are looked at that may have changed since the last round:
//
//   1. What a mapping of the tree may have written: every page without the mark of protection in
//      the page table of any of its mappers (pages/tracker.h, find_unwatched()). The order is that
//      of private memory: find, mark the same, then read.
//   2. What has appeared in the object, or left it, with or without having come back
//      (pages/held_pages.h).
//   3. All of it, if somebody may have written whose page table we cannot see: a process that is
//      new or gone; one that was forked and has ended between two looks (its parent has waited
//      for it, and so has faults of children added to its own; or does not wait, because it
//      ignores SIGCHLD); a mapping that is new, moved or gone.
//
// Not seen, for large objects: a second mapping made by mremap(2) with an old size of 0 and
// unmapped again between two looks.
//
// Used by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "migrate/link.h"
#include "migrate/moved.h"
#include "model/checkpoint.h"
#include "pages/held_pages.h"
#include "pages/page_wire.h"
#include "pages/shared_object.h"
#include "pages/tracker.h"

namespace ferry::migrate {

class SharedSender {
  public:
    // Comparing this much takes about as long as looking at the page tables of twenty processes.
    static constexpr std::uint64_t kCompareBytes = 8 << 20;

    // Called after each batch with its bytes; an error ends the round.
    using Watcher = std::function<Result<>(std::uint64_t bytes)>;
    // nullptr: the process is not tracked. Called by the thread of a look, too.
    using TrackerOf = std::function<pages::Tracker*(Pid)>;

    // As MemorySender::DirectReads.
    using DirectReads = std::function<Result<pages::PageSet>(Pid)>;

    SharedSender(Link& link, TrackerOf tracker_of, DirectReads direct_reads, Watcher watcher);

    // The objects as the destination has them now: those of the layout that it was sent. An object
    // that is gone where the layout saw it is opened by a later call. Needs CAP_CHECKPOINT_RESTORE
    // (/proc/PID/map_files).
    Result<> follow(const model::Checkpoint& layout);
    void compress(pages::Compression compression) { frame_.compress(compression); }

    // A round: sends what is not at the destination.
    Result<Moved> send_changed();
    // What a round would have to send now. Changes nothing.
    Result<std::uint64_t> changed_bytes();
    // In the freeze, every thread stopped: begins the last look in threads of its own, for the
    // caller to look at private memory meanwhile. Only follow() may be called before send_last().
    void start_last_look();
    // In the freeze: what start_last_look() has found, and what follow() has added since.
    Result<Moved> send_last();

  private:
    struct Mapper {
        Pid pid;
        AddrRange range;
        std::uint64_t offset = 0;
        bool only_reads = false;  // and can never write: nothing is to be watched
        bool operator==(const Mapper&) const = default;
    };
    // Minor faults of children that each process has waited for.
    using Children = std::map<Pid, std::uint64_t>;
    // Since when marks tell something.
    struct Marked {
        std::vector<Mapper> mappers;
        Children children;
        pages::PageSet data;
    };
    // What an object is at the moment.
    struct Now {
        std::uint64_t bytes = 0;
        std::vector<Mapper> mappers;
        bool is_compared = false;  // as a whole, each time
        bool operator==(const Now&) const = default;
    };
    struct Object {
        pages::SharedObject content;
        Now now;
        pages::HeldPages held;
        std::optional<Marked> marked;
        Now looked_at;                                  // by last_look
        std::future<Result<pages::PageSet>> last_look;  // its end waits for the thread: keep last
    };
    struct Suspects {
        pages::PageSet data;                    // what the object holds
        std::vector<pages::PageSet> unwatched;  // of each mapper: addresses
        pages::PageSet lost;
        pages::PageSet pages;  // to be compared
    };

    [[nodiscard]] static std::optional<Children> children_of(const std::vector<Pid>& pids);
    [[nodiscard]] Result<Suspects> find_suspects(const Object& object, const Now& now,
                                                 const std::optional<Children>& children) const;
    [[nodiscard]] Result<pages::PageSet> look(const Object& object, const Now& now,
                                              const std::vector<Pid>& pids) const;
    Result<> mark(Object& object, Suspects& suspects, const std::optional<Children>& children);
    // A device may still write into it, which leaves no trace: then marks tell nothing.
    [[nodiscard]] Result<bool> is_read_into(const Object& object) const;
    Result<Moved> send(std::uint64_t id, Object& object, const pages::PageSet& suspects);
    Result<> send_batch(std::uint64_t id, pages::PageBatch& batch, Moved& moved);

    Link& link_;
    TrackerOf tracker_of_;
    DirectReads direct_reads_;
    Watcher watcher_;
    std::vector<std::byte> buffer_;
    pages::PageFrame frame_;
    std::vector<Pid> pids_;  // of the layout, zombies too
    std::map<std::uint64_t, Object> objects_;
};

}  // namespace ferry::migrate
