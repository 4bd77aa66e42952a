#include "resources/ipc_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string>

#include "os/fd.h"
#include "os/message_queue.h"
#include "os/scope.h"
#include "proc/system_v.h"

namespace ferry::resources {
namespace {

std::unexpected<Error> refuse(const char* what, const proc::SystemVObject& object) {
    return fail(Error::unsupported(fmt::format("System V {} {} (key {:#x}) is not carried", what,
                                               object.id, static_cast<unsigned>(object.key))));
}

}  // namespace

Result<> check_ipc_namespace(Pid member) {
    const os::UniqueFd ipc = TRY(os::open(fmt::format("/proc/{}/ns/ipc", member), O_RDONLY));
    const os::IpcScope there = TRY(os::IpcScope::enter(ipc.get()));
    const auto segments =
        TRY(proc::parse_system_v_segments(TRY(os::read_file("/proc/sysvipc/shm"))));
    if (!segments.empty()) return refuse("shared memory", segments.front().object);
    const auto semaphores =
        TRY(proc::parse_system_v_semaphores(TRY(os::read_file("/proc/sysvipc/sem"))));
    if (!semaphores.empty()) return refuse("semaphore set", semaphores.front().object);
    const auto queues = TRY(proc::parse_system_v_queues(TRY(os::read_file("/proc/sysvipc/msg"))));
    if (!queues.empty()) return refuse("message queue", queues.front().object);
    const os::UniqueFd names = TRY(os::open_message_queues());
    for (const std::string& name : TRY(os::list_directory(names.get(), "."))) {
        return fail(Error::unsupported(fmt::format("message queue /{} is not carried", name)));
    }
    return {};
}

}  // namespace ferry::resources
