// Trees of files at the source, read while they change: what their destination lacks, the first
// time and again and again.
//
// Who has files open or mapped is not asked. A file that was written is found by its times, its
// size and its inode's number, all of which are taken before it is read. The kernel's clock for
// them is coarse: a file that was written just before is looked at once more. What is written
// through a mapping changes no time: Suspect.
//
// After the first time inotify(7) tells where to look. What it does not tell of is found when
// everything is looked at again, from then on that file is looked at each time.
//
// One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "files/records.h"
#include "files/tree_root.h"
#include "files/watch.h"

namespace ferry::files {

// The other side, as the source sees it. Both calls may wait for it.
class Destination {
  public:
    Destination() = default;
    Destination(const Destination&) = delete;
    Destination& operator=(const Destination&) = delete;
    virtual ~Destination() = default;
    // Nodes that it may have already.
    virtual Result<std::vector<Wanted>> offer(std::span<const std::byte> records) = 0;
    virtual Result<> send(std::span<const std::byte> records) = 0;
};

// A file that may have changed without a trace.
struct Suspect {
    TreePath path;
    bool is_mapped = false;  // shared and writable: its times tell nothing
};

struct Moved {
    std::uint64_t files = 0;  // whose content was compared
    std::uint64_t bytes = 0;  // of content that was sent
    std::uint64_t looks = 0;  // at nodes
    Moved& operator+=(const Moved& other) {
        files += other.files;
        bytes += other.bytes;
        looks += other.looks;
        return *this;
    }
};

class Outgoing {
  public:
    static Result<Outgoing> open(const std::vector<TreePlace>& places);

    // The first time looks at everything, and the destination compares with what it has. Later
    // looks where something was noticed, and at everything only so often that it takes a small part
    // of the time.
    Result<Moved> send_all(Destination& to);
    // Nothing writes any more: looks only where something was noticed since the last call, and at
    // the suspects; asks nothing.
    Result<Moved> send_last(Destination& to, std::span<const Suspect> suspects);

  private:
    // What tells that a node has changed.
    struct Stamp {
        std::uint64_t size = 0;
        std::int64_t modified_s = 0, modified_ns = 0, changed_s = 0, changed_ns = 0;
        bool operator==(const Stamp&) const = default;
    };
    // By device, too: an overlay's files may be on several.
    struct Inode {
        dev_t device = 0;
        ino_t number = 0;
        bool operator==(const Inode&) const = default;
    };
    struct InodeHash {
        std::size_t operator()(const Inode& inode) const {
            return std::hash<std::uint64_t>()(inode.number * 31 + inode.device);
        }
    };
    struct State {
        Stamp stamp;
        bool is_fresh = false;  // may have been written again without a change of the stamp
        bool is_known = false;  // `digests` are those of what the destination has
        Digests digests;
    };
    struct Name {
        Inode inode;
        NodeKind kind = NodeKind::File;
    };
    struct Tree {
        TreeRoot root;
        std::map<std::string, Name> names;
        std::unordered_map<Inode, State, InodeHash> states;
    };
    using Clock = std::chrono::steady_clock;
    Outgoing(std::vector<Tree> trees, Watch watch)
        : trees_(std::move(trees)), watch_(std::move(watch)) {}
    [[nodiscard]] bool is_time_for_everything() const;

    std::vector<Tree> trees_;
    Watch watch_;
    std::set<TreePath> fresh_;   // State::is_fresh, or not sent yet
    std::set<TreePath> silent_;  // files that were written before, and nobody noticed: by aio(7)
    Clock::time_point walked_;   // when everything was looked at, and how long that took
    Clock::duration walk_took_{};
    bool first_ = true;

    friend class Pass;
};

}  // namespace ferry::files
