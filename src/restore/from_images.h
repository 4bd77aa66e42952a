// `ferry restore`: a process tree out of image files.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"
#include "base/types.h"
#include "restore/staged_tree.h"

namespace ferry::restore {

struct RestoreOptions {
    std::string images_directory;
    // Directory for stats-restore; -1: none.
    int work_directory = -1;
    bool leave_stopped = false;
    // Terminals become our own terminal.
    bool shell_job = false;
    bool external_unix = false;
    // TCP connections with a peer are restored; without it images that hold some are refused.
    bool tcp_established = false;
    // The same for locks of files.
    bool file_locks = false;
    // Called when the pages are in, before files are opened: what sockets need is there then. May
    // be empty.
    std::function<Result<>()> on_filled;
    // Called when everything is in place, before connections go live: the network is unlocked here.
    // May be empty.
    std::function<Result<>()> on_restored;
    // A root that is started by somebody else (start_root) is where the tree's files and sockets
    // are opened.
    StageOptions stage;
    // OpenedFilesOptions::given_stream.
    std::function<int(int number)> given_stream;
};

struct RestoreReport {
    Pid root;
    std::uint64_t pages = 0;
    std::chrono::microseconds stage{0}, fill{0}, files{0}, total{0};
    ActivationReport activation;
    // Not empty: a connection that could not be woken. The tree runs all the same, because its
    // network was unlocked by then.
    std::string warning;
    // StagedTree::loss().
    std::string loss;
};

// Restores and releases the tree. The root is a child of the caller (or of its parent, see
// StageOptions). After an error nothing is left behind.
Result<RestoreReport> restore_from_images(const RestoreOptions& options);

}  // namespace ferry::restore
