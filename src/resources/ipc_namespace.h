// What lives in an IPC namespace (ipc_namespaces(7)) whoever has it open: System V shared memory,
// semaphores and message queues, POSIX message queues, and its settings.
//
// At the source: outline() for skeletons, collect() in the freeze. At the destination, where the
// namespace is new: make() before any process needs the objects, settle() when all have what they
// need: then objects get their owners, and limits their values.
#pragma once

#include "base/error.h"
#include "base/types.h"
#include "model/ipc.h"
#include "os/fd.h"

namespace ferry::resources {

class IpcNamespace {
  public:
    // The one that a process is in.
    static Result<IpcNamespace> of(Pid member);

    // Unsupported, by name: an object that would be lost.
    Result<model::IpcNamespace> outline() const;
    // Whoever lives in it stands still.
    Result<model::IpcNamespace> collect() const;

    Result<> make(const model::IpcNamespace& wanted) const;
    Result<> settle(const model::IpcNamespace& wanted) const;

  private:
    explicit IpcNamespace(os::UniqueFd fd) : fd_(std::move(fd)) {}
    os::UniqueFd fd_;
};

}  // namespace ferry::resources
