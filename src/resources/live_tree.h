// For live tests: a forked child whose files are collected from outside as those of a tree, and a
// network namespace of its own for the test process.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "resources/files.h"
#include "resources/opened_files.h"

namespace ferry::resources {

// Enters a new network namespace with loopback up, so that no test sees another's ports.
void enter_test_network();

// A child that ran `set_up` and now sleeps. It has /dev/null as its first three descriptors, then
// those of ours that it is handed (from 3 on), and what set_up leaves open. The destructor kills
// it.
class LiveTree {
  public:
    explicit LiveTree(const std::function<void()>& set_up, const std::vector<int>& handed = {});
    LiveTree(const LiveTree&) = delete;
    LiveTree& operator=(const LiveTree&) = delete;
    ~LiveTree() { kill(); }

    [[nodiscard]] Pid pid() const { return pid_; }
    void kill();

  private:
    Pid pid_;
};

// The files of a tree of one process, taken out of it and opened again here.
struct Moved {
    model::Checkpoint checkpoint;
    OpenedFiles files{OpenOptions{}};
    // Our descriptor of what was descriptor `fd` of process `index`.
    [[nodiscard]] int fd(int fd, std::size_t index = 0) const;
    [[nodiscard]] const model::OpenFile& file(int fd, std::size_t index = 0) const;
};

// Stops nothing: the child sleeps. prepare, collect, silence, kill, finish, leave_repair.
Result<Moved> move_files(LiveTree& tree, const FileOptions& options = {.tcp_established = true});
Result<model::Checkpoint> collect_files(FileCollector& collector, const LiveTree& tree);

[[nodiscard]] std::string read_some(int fd, std::size_t size);
void write_text(int fd, std::string_view text);
// A byte stream that shows misplaced bytes: 64-bit counters.
[[nodiscard]] std::string pattern(std::size_t size);

}  // namespace ferry::resources
