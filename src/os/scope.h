// Being somewhere else for a moment. Both end with the object; where that fails the process ends,
// for what it would do next would happen in the wrong place.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

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

// Relative paths, and such names of Unix sockets, begin here. All threads are concerned, as above.
class DirectoryScope {
  public:
    // An absolute path; empty: stay.
    static Result<DirectoryScope> enter(const std::string& path);
    DirectoryScope(DirectoryScope&&) noexcept = default;
    DirectoryScope& operator=(DirectoryScope&&) = delete;
    ~DirectoryScope();

  private:
    explicit DirectoryScope(UniqueFd back) : back_(std::move(back)) {}
    UniqueFd back_;
};

struct UserIds {
    uid_t user = 0;
    gid_t group = 0;
    bool operator==(const UserIds&) const = default;
};

// The calling thread is somebody else (its effective and file system ids) with the capabilities
// that it has: what it makes, files, sockets and System V objects, is theirs. A file system that
// was mounted in a user namespace takes nothing from whom that has no id for (EOVERFLOW). No
// program may be started meanwhile: it would lack the capabilities. Needs CAP_SETUID, CAP_SETGID
// and CAP_SETPCAP. Other threads are not concerned.
class UserScope {
  public:
    // Nothing: stay.
    static Result<UserScope> enter(const std::optional<UserIds>& ids);
    UserScope(UserScope&& other) noexcept : back_(std::exchange(other.back_, std::nullopt)) {}
    UserScope& operator=(UserScope&&) = delete;
    ~UserScope();

  private:
    // What a change of ids takes away (prctl(2)), and the ids.
    struct Own {
        UserIds ids;
        int secure_bits = 0, dumpable = 0, death_signal = 0;
    };
    UserScope() = default;
    static void restore(const Own& own);
    std::optional<Own> back_;
};

}  // namespace ferry::os
