// `ferry dump`: a process tree into image files, in one freeze.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"
#include "dump/all_pages.h"
#include "dump/source_tree.h"
#include "image/store.h"

namespace ferry::dump {

enum class AfterDump : std::uint8_t {
    Kill,          // the tree ends
    LeaveRunning,  // --leave-running
    LeaveStopped,  // --leave-stopped
};

// `collected` has the ids that the dumper sees.
using AlsoWrite =
    std::function<Result<>(const model::Checkpoint& collected, image::ImageStore& into)>;

struct ToImagesOptions {
    AfterDump after = AfterDump::Kill;
    // Directory for stats-dump; -1: none.
    int work_directory = -1;
    // As of write_all_pages().
    std::string parent = {};
    // Any of these may be empty. As soon as everything stands still, before sockets are read: the
    // caller locks the network.
    std::function<Result<>()> on_frozen;
    // The tree is about to run on, for the time being (something transient was in the way) or for
    // good: the caller takes back what on_frozen did, as far as the tree would notice.
    std::function<void()> on_thaw;
    // The tree runs on: the caller takes back the rest.
    std::function<void()> on_thawed;
    // The images are complete and the tree is about to be killed; on an error it is not.
    std::function<Result<>()> on_kill;
    // Everything stands still: what the caller keeps beside the images, for the same commit.
    AlsoWrite also_write;
};

struct ToImagesReport {
    std::uint64_t pages = 0;
    std::chrono::microseconds frozen{0}, memory{0}, write{0};
    FreezeTimes freeze;
};

struct WrittenImages {
    PageFigures pages;
    std::chrono::microseconds memory{0};  // the pages
    std::chrono::microseconds write{0};   // everything else, the commit included
};
// Of a checkpoint of this tree that was collected in the freeze that still lasts: every image, with
// the ids that the tree itself sees, and what `also_write` (if any) adds. `parent` as of
// write_all_pages(). Commits the store; on an
// error it holds nothing new.
Result<WrittenImages> write_images(const SourceTree& tree, const model::Checkpoint& collected,
                                   image::DirectoryStore& store, const std::string& parent,
                                   const AlsoWrite& also_write);

struct PreDumpOptions {
    int work_directory = -1;
    std::string parent = {};
};
// The pages of a tree that runs on meanwhile, for a later dump or pre-dump to refer to as its
// parent. Nothing is stopped. Commits the store; on an error it holds nothing new.
Result<ToImagesReport> pre_dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                          const PreDumpOptions& options);

// Writes every image and commits the store, then ends the tree as asked. On an error the tree runs
// on as before and the store holds nothing new. A connection that waits to be accepted lets the
// tree run some milliseconds and is tried again; Error::Kind::Limit when that does not help.
Result<ToImagesReport> dump_to_images(SourceTree& tree, image::DirectoryStore& store,
                                      const ToImagesOptions& options);

}  // namespace ferry::dump
