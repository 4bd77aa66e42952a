// A victim as a Checkpoint, taken without dump/, so that restore/ is tested on its own. Descriptors
// are not described: duplicates of the victim's own are given to the restored tree.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "restore/staged_tree.h"

namespace ferry::live {

struct Content {
    AddrRange range;
    std::vector<std::byte> bytes;
};

struct Snapshot {
    model::Checkpoint checkpoint;
    std::map<model::FileId, os::UniqueFd> files;
    std::map<pid_t, std::vector<Content>> pages;

    [[nodiscard]] restore::FileLookup lookup() const;
};

// Freezes the tree, reads it, kills it and reaps the root, which must be our child.
Result<Snapshot> take_snapshot(Pid root);

// A victim program as our child, with its standard output in a file.
class Victim {
  public:
    static Result<Victim> start(const std::string& name,
                                const std::vector<std::string>& arguments = {});
    Victim(Victim&&) = default;
    Victim& operator=(Victim&&) = default;
    ~Victim();

    [[nodiscard]] Pid pid() const { return pid_; }
    // The next line of its output, without the newline; what came so far if there is none in 10 s.
    std::string line();
    // Some time for its threads to run, so that what they only notice when they run is noticed, and
    // for the first thread to be in sigsuspend(2) again: before that another thread would take the
    // signal.
    static void let_run();
    // SIGTERM, then its verdict: "PASS" or "FAIL: ...". Reaps it.
    std::string verdict();
    // It is dead and reaped.
    void forget() { pid_ = {}; }

  private:
    Victim() = default;
    Pid pid_;
    std::string output_path_;
    os::UniqueFd output_;
    std::string buffer_;
};

// Writes every page.
Result<> fill(restore::StagedTree& tree, const Snapshot& snapshot);

// Stage, fill, activate, run, as the migration does.
Result<restore::ActivationReport> restore_snapshot(const Snapshot& snapshot,
                                                   const restore::StageOptions& options = {});

}  // namespace ferry::live
