// What lives in an IPC namespace (ipc_namespaces(7)) whoever has it open: System V shared memory,
// semaphores and message queues, POSIX message queues, and its settings.
//
// At the source: outline() for skeletons, collect() in the freeze, add_segments() after either. At
// the destination, where the namespace is new: loosen() first of all, make() before any process
// needs the objects, settle() when all have what they need: then objects get their owners, and
// limits their values. Segments, which are memory, are restore/shared_memory.h's to make,
// POSIX queues, which are files, opened_files.h's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "os/fd.h"
#include "os/message_custody.h"
#include "os/scope.h"
#include "resources/posix_queue.h"

namespace ferry::resources {

class IpcNamespace {
  public:
    // The one that a process is in.
    static Result<IpcNamespace> of(Pid member);

    // Unsupported, by name: an object that would be lost.
    Result<model::IpcNamespace> outline() const;
    // Whoever lives in it stands still. POSIX queues are left out.
    Result<model::IpcNamespace> collect() const;
    // Those, when the descriptors are known. Whoever lives in it stands still.
    Result<PosixQueues> collect_posix_queues(std::span<const OpenQueue> open,
                                             os::MessageCustody& custody) const;
    // The segments, for a checkpoint whose processes are known. Mappings of one that was removed
    // meanwhile are left out. With `stands_still`, Unsupported: one that somebody else has attached
    // as well.
    Result<> add_segments(model::Checkpoint& checkpoint, bool stands_still);

    [[nodiscard]] int fd() const { return fd_.get(); }
    Result<> loosen(const model::IpcNamespace& wanted) const;
    Result<> make(const model::IpcNamespace& wanted) const;
    Result<> settle(const model::IpcNamespace& wanted) const;

  private:
    IpcNamespace(os::UniqueFd fd, const std::optional<os::UserIds>& root)
        : fd_(std::move(fd)), root_(root) {}
    Result<> add_source(model::IpcSegment& segment);

    os::UniqueFd fd_;
    std::optional<os::UserIds> root_;  // of its user namespace, whose its settings are
    std::map<std::int32_t, os::UniqueFd> unattached_;  // what lies behind segments, by id
};

}  // namespace ferry::resources
