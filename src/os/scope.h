// Being somewhere else for a moment. Both end with the object; where that fails the process ends,
// for what it would do next would happen in the wrong place.
#pragma once

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// The calling thread's sockets are made in another network namespace (network_namespaces(7)). Other
// threads are not concerned.
class NetworkScope {
  public:
    // A /proc/PID/ns/net file; -1: stay.
    static Result<NetworkScope> enter(int network);
    NetworkScope(NetworkScope&&) noexcept = default;
    NetworkScope& operator=(NetworkScope&&) = delete;
    ~NetworkScope();

  private:
    explicit NetworkScope(UniqueFd back) : back_(std::move(back)) {}
    UniqueFd back_;
};

// The calling thread's System V objects and message queues are those of another IPC namespace
// (ipc_namespaces(7)), and so is what it opens of /proc/sysvipc, and of /proc/sys that is about
// them. Other threads are not concerned.
class IpcScope {
  public:
    // A /proc/PID/ns/ipc file; -1: stay.
    static Result<IpcScope> enter(int ipc);
    IpcScope(IpcScope&&) noexcept = default;
    IpcScope& operator=(IpcScope&&) = delete;
    ~IpcScope();

  private:
    explicit IpcScope(UniqueFd back) : back_(std::move(back)) {}
    UniqueFd back_;
};

// Absolute paths, and names of Unix sockets, lead where they lead for a process with this root,
// whose mount namespace may be another. All threads are concerned (CLONE_FS): none may resolve a
// path meanwhile.
class RootScope {
  public:
    // A directory opened with O_PATH, such as /proc/PID/root; -1: stay.
    static Result<RootScope> enter(int root);
    RootScope(RootScope&&) noexcept = default;
    RootScope& operator=(RootScope&&) = delete;
    ~RootScope();

  private:
    RootScope(UniqueFd root, UniqueFd directory)
        : root_(std::move(root)), directory_(std::move(directory)) {}
    UniqueFd root_, directory_;
};

}  // namespace ferry::os
