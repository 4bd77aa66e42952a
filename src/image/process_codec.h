// Processes and threads to and from core-TID.img, pstree.img and ids-PID.img. Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/process.pb.h"
#include "model/process.h"

namespace ferry::image {

// core-TID.img of a thread; that of the leader also carries what the process has once.
// cgroup_set is the id of the process's set in cgroup.img.
Result<> core_to_wire(const model::Process& process, const model::Thread& thread,
                      std::uint32_t cgroup_set, wire::CoreEntry& into);
void zombie_to_wire(const model::Process& process, wire::CoreEntry& into);

// Fills what core-TID.img tells of a thread.
Result<> thread_from_wire(const wire::CoreEntry& from, model::Thread& into);
// Fills what the leader's core-PID.img tells of the process, is_zombie included. A zombie has
// nothing more; otherwise thread_from_wire follows for the same record.
Result<> process_from_wire(const wire::CoreEntry& from, model::Process& into);
// 0: none.
[[nodiscard]] std::uint32_t cgroup_set_of(const wire::CoreEntry& core);

// The time namespace of the dumper, and of a tree that is in another one; by the latter is its
// image called.
inline constexpr std::uint32_t kDumpersTimeNamespace = 5, kOwnTimeNamespace = 9;
// Ids of the objects that processes may share. Each process has its own of all of them here; the
// namespaces are the dumper's.
void ids_to_wire(std::uint32_t own, wire::KobjIds& into);

}  // namespace ferry::image
