// `ferry dump`: a process tree into image files, in one freeze.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "base/error.h"
#include "dump/source_tree.h"
#include "image/store.h"

namespace ferry::dump {

enum class AfterDump : std::uint8_t {
    Kill,          // the tree ends
    LeaveRunning,  // --leave-running
    LeaveStopped,  // --leave-stopped
};

struct ToImagesOptions {
    AfterDump after = AfterDump::Kill;
    // Directory for stats-dump; -1: none.
    int work_directory = -1;
    // Called as soon as everything stands still, before sockets are read: the caller locks the
    // network.
    std::function<Result<>()> on_frozen;
    // Something transient was in the way, and the tree is about to run on until the next freeze:
    // the caller takes back what on_frozen did. May be empty.
    std::function<void()> on_thaw;
};

struct ToImagesReport {
    std::uint64_t pages = 0;
    std::chrono::microseconds frozen{0}, memory{0}, write{0};
    FreezeTimes freeze;
};

// Writes every image and commits the store, then ends the tree as asked. On an error the tree runs
// on as before and the store holds nothing new. A connection that waits to be accepted lets the
// tree run some milliseconds and is tried again; Error::Kind::Limit when that does not help.
Result<ToImagesReport> dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                      const ToImagesOptions& options);

}  // namespace ferry::dump
