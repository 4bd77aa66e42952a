// A network of hosts on this one machine, each with its own network, mount, pid and UTS namespaces
// and its own control group. A `World` is an outer set of namespaces with the bridge; the hosts
// live inside it. All of it hangs on one process: when the world's first process is killed, which
// happens when the thread that made it ends for whatever reason, the kernel kills every process
// inside and removes every link, mount and socket. Only control groups need a broom (os/sweeper.h).
//
//            world: bridge br0, tmpfs on /run
//      +------------------+------------------+
//   host 1 eth0        host 2 eth0        host 3 eth0      (veth pairs)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/host.h"
#include "os/launch.h"
#include "os/namespace.h"

namespace ferry::lab {

// Files that all hosts see, the same ones everywhere (the world's tmpfs).
inline constexpr const char* kSharedDirectory = "/run/lab";
// Ferry's own directory; every host has its own.
inline constexpr const char* kFerryDirectory = "/run/ferry";

class World {
  public:
    // Needs root. Call it from the main thread, which must outlive the world.
    static Result<std::unique_ptr<World>> create(const std::vector<HostPlan>& plans);
    ~World();

    [[nodiscard]] Host& host(std::size_t index) { return *hosts_.at(index); }
    [[nodiscard]] std::size_t hosts() const { return hosts_.size(); }
    // Kills everything inside and waits until it is gone. For signal threads too: it only reads.
    // Reaps every child of this process that ends meanwhile.
    void kill_everything() const;

  private:
    World() = default;
    Result<> build_network();
    Result<> give_boot_ids();

    // Destroyed in reverse: the groups are removed after the processes inside are gone, the sweeper
    // is ended last.
    os::ChildProcess sweeper_;
    std::vector<std::unique_ptr<Host>> hosts_;
    os::NamespaceHolder holder_;
};

}  // namespace ferry::lab
