// The source's half of the memory that processes share without a file: each object is sent once,
// whoever maps it, by its number and offsets in it (pages/page_wire.h, PageSpace::Shared).
//
// Every look reads what the objects hold and compares it with what was sent (pages/shared_object.h
// says why that misses no write). The last look happens in the freeze, beside collecting.
//
// Used by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <span>
#include <vector>

#include "base/error.h"
#include "migrate/link.h"
#include "migrate/moved.h"
#include "model/checkpoint.h"
#include "pages/page_wire.h"
#include "pages/shared_object.h"

namespace ferry::migrate {

class SharedSender {
  public:
    // Called after each batch with its bytes; an error ends the round.
    using Watcher = std::function<Result<>(std::uint64_t bytes)>;

    SharedSender(Link& link, Watcher watcher);

    // The objects as the destination has them now: those of the layout that it was sent. An object
    // whose mapping has vanished since is opened by a later call. Needs CAP_CHECKPOINT_RESTORE
    // (/proc/PID/map_files).
    Result<> follow(const model::Checkpoint& layout);

    // A round: sends what is not at the destination.
    Result<Moved> send_changed();
    // What a round would have to send now. Changes nothing.
    Result<std::uint64_t> changed_bytes();
    // In the freeze, every thread stopped: begins the last look in a thread of its own. Only
    // follow() may be called before send_last().
    void start_last_look();
    // In the freeze: what start_last_look() has found, and what follow() has added since.
    Result<Moved> send_last();

  private:
    struct Object {
        pages::SharedObject content;
        std::uint64_t bytes = 0;
        std::uint64_t looked_at = 0;                    // bytes that last_look is about
        std::future<Result<pages::PageSet>> last_look;  // its end waits for the thread: keep last
    };

    Result<Moved> send(std::uint64_t id, Object& object, const pages::PageSet& suspects);
    Result<> send_batch(std::uint64_t id, pages::PageBatch& batch, Moved& moved);

    Link& link_;
    Watcher watcher_;
    std::vector<std::byte> buffer_;
    pages::PageFrame frame_;
    std::map<std::uint64_t, Object> objects_;
};

}  // namespace ferry::migrate
