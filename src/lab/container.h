// An OCI container that runc keeps on one of the lab's hosts: its root file system is an overlay on
// the bundle's, its network a veth pair to a bridge of the host.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/command.h"
#include "lab/world.h"
#include "os/launch.h"

namespace ferry::lab {

struct ContainerPlan {
    std::string name;                         // runc's id, and the last part of its control group
    std::string bundle;                       // with config.json and root file system; only read
    std::vector<std::string> arguments = {};  // of its first process; {}: the bundle's
    std::string directory;           // on the host, absent yet: gets the container's own files
    bool shared_storage = false;     // `directory` is one that other hosts have, too: a plain copy
    std::string bridge;              // of the host
    std::string address;             // of its eth0, with prefix length
    std::string mac;                 // "": the kernel chooses
    std::uint64_t memory_bytes = 0;  // limits; 0: none
    std::uint64_t processes = 0;
    int stdout_fd = -1, stderr_fd = -1;  // where its programs write to; -1: /dev/null
    std::string console_socket = {};     // where it has a terminal: who gets its master
};

// Makes `bridge` on the host and puts eth0 into it; eth0's addresses go over to the bridge. The
// host must have no bridge of that name.
Result<> add_bridge(const Host& host, const std::string& bridge);
// Mounts the control group hierarchies of this machine on the host, whose own sysfs hides them:
// runc looks for them in /sys/fs/cgroup. Once for each host.
Result<> mount_cgroups(const Host& host);

// One container. The destructor kills it and removes its control groups and its overlay; when this
// process is killed the world ends the container, and a sweeper (os/sweeper.h) removes the groups.
class Container {
  public:
    // Creates the container, connects it, starts it. Its own first process runs when this returns,
    // which does not mean that it answers yet. Error::Kind::Invalid if the bundle is none.
    static Result<std::unique_ptr<Container>> start(const Host& host, const ContainerPlan& plan);
    Container(const Container&) = delete;
    Container& operator=(const Container&) = delete;
    ~Container();

    [[nodiscard]] const std::string& name() const { return plan_.name; }
    [[nodiscard]] const std::string& directory() const { return plan_.directory; }
    [[nodiscard]] const Host& host() const { return *host_; }
    // Of its control groups, below its host's.
    [[nodiscard]] std::string cgroup_name() const;
    // Of its first process, as the host sees it.
    [[nodiscard]] Pid init_pid() const { return init_; }
    // Somebody has moved it to another host; it is looked for and removed there from now on.
    Result<> follow_to(const Host& host);
    // "created", "running", "paused", "stopped", or "absent".
    [[nodiscard]] Result<std::string> status() const;
    // SIGTERM, wait until it has ended, delete it. Error::Kind::Limit if it does not end in time;
    // then it runs on.
    Result<> stop(std::chrono::milliseconds timeout);

  private:
    Container(const Host& host, ContainerPlan plan);
    Result<> watch_groups();
    Result<> make_bundle();
    Result<> create();
    Result<> connect();
    Result<Pid> ask_init_pid();
    const Host* host_;
    const ContainerPlan plan_;
    Pid init_;
    bool mounted_ = false, created_ = false;
    std::vector<os::ChildProcess> sweepers_;  // of the control groups on each host it was on
};

// `runc ARGUMENTS...` on a host, for any container there, whoever started it.
Result<CommandResult> runc(const Host& host, std::vector<std::string> arguments,
                           std::chrono::milliseconds timeout, const std::string& input = {});
Result<std::string> runc_checked(const Host& host, std::vector<std::string> arguments,
                                 std::chrono::milliseconds timeout, const std::string& input = {});

}  // namespace ferry::lab
