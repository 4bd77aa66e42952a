// A place where commands are run: a host of a world (world.h), this machine itself, or another
// machine that is reached by ssh(1).
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/cgroup.h"
#include "lab/command.h"
#include "os/launch.h"
#include "os/namespace.h"

namespace ferry::lab {

// Where runc keeps its state on a host of a world: every host has its own.
inline constexpr const char* kRuncRoot = "/run/ferry/runc";

struct HostPlan {
    std::string name;                    // also the name of its bridge port
    std::vector<std::string> addresses;  // of eth0, with prefix length
    int first_pid = 300;                 // pids given out start here: hosts' pids rarely collide
    // By how much longer than this machine it has been awake, and asleep. Not zero: it has a time
    // namespace, and another boot id, mounted over the one in its /proc.
    std::chrono::seconds more_uptime{0};
};

class Host {
  public:
    // This machine, in the namespaces of this process.
    static Host here();
    // `ssh` are the words before the remote command: ssh(1), its options and the destination. A
    // shell there gets each command in one word.
    static Host over_ssh(std::string name, std::vector<std::string> ssh, std::string runtime_root);

    [[nodiscard]] const std::string& name() const { return plan_.name; }
    [[nodiscard]] bool is_remote() const { return !ssh_.empty(); }
    // Where its runc keeps its state.
    [[nodiscard]] const std::string& runtime_root() const { return runtime_root_; }
    // Of a host of a world: its first process as seen from outside the world.
    [[nodiscard]] Pid init_pid() const { return holder_.pid; }
    [[nodiscard]] int pidfd() const { return holder_.pidfd.get(); }
    [[nodiscard]] const Cgroup& cgroup() const { return cgroup_; }
    // A program that will run inside.
    [[nodiscard]] os::Launch launch(std::vector<std::string> arguments) const;
    [[nodiscard]] Result<CommandResult> run(std::vector<std::string> arguments,
                                            std::chrono::milliseconds timeout,
                                            const std::string& input = {}) const;
    [[nodiscard]] Result<std::string> run_checked(std::vector<std::string> arguments,
                                                  std::chrono::milliseconds timeout,
                                                  const std::string& input = {}) const;
    // The file is made or replaced.
    [[nodiscard]] Result<> write_file(const std::string& path, const std::string& text) const;
    // The calling thread's new sockets belong to this host from now on. Not of a remote one.
    Result<> enter_network() const;
    // `path` of this host as a path here. Not of a remote one.
    [[nodiscard]] std::string path(const std::string& path) const;

  private:
    friend class World;
    HostPlan plan_;
    std::string runtime_root_ = kRuncRoot;
    Cgroup cgroup_;
    os::NamespaceHolder holder_;
    std::vector<std::string> ssh_;
};

// For a POSIX shell.
[[nodiscard]] std::string shell_words(const std::vector<std::string>& words);

}  // namespace ferry::lab
