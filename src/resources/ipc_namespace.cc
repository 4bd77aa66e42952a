#include "resources/ipc_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <string>

#include "os/message_queue.h"
#include "os/scope.h"
#include "proc/system_v.h"
#include "resources/ipc_settings.h"
#include "resources/semaphore_set.h"
#include "resources/system_v_queue.h"

namespace ferry::resources {
namespace {

// Of the calling thread's namespace.
Result<> refuse_the_rest() {
    const auto segments =
        TRY(proc::parse_system_v_segments(TRY(os::read_file("/proc/sysvipc/shm"))));
    if (!segments.empty()) {
        const proc::SystemVObject& object = segments.front().object;
        return fail(
            Error::unsupported(fmt::format("System V shared memory {} (key {:#x}) is not carried",
                                           object.id, static_cast<unsigned>(object.key))));
    }
    const os::UniqueFd names = TRY(os::open_message_queues());
    for (const std::string& name : TRY(os::list_directory(names.get(), "."))) {
        return fail(Error::unsupported(fmt::format("message queue /{} is not carried", name)));
    }
    return {};
}

}  // namespace

Result<IpcNamespace> IpcNamespace::of(Pid member) {
    return IpcNamespace(TRY(os::open(fmt::format("/proc/{}/ns/ipc", member), O_RDONLY)));
}

Result<model::IpcNamespace> IpcNamespace::outline() const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    TRY(refuse_the_rest());
    model::IpcNamespace found;
    found.settings = TRY(read_ipc_settings());
    return found;
}

Result<model::IpcNamespace> IpcNamespace::collect() const {
    model::IpcNamespace found = TRY(outline());
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    found.semaphores = TRY(read_semaphores());
    found.queues = TRY(read_queues());
    return found;
}

Result<> IpcNamespace::make(const model::IpcNamespace& wanted) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    TRY(loosen_ipc_settings(wanted.settings));
    TRY(make_semaphores(wanted.semaphores));
    return make_queues(wanted.queues);
}

Result<> IpcNamespace::settle(const model::IpcNamespace& wanted) const {
    const os::IpcScope there = TRY(os::IpcScope::enter(fd_.get()));
    TRY(settle_semaphores(wanted.semaphores));
    TRY(settle_queues(wanted.queues));
    return settle_ipc_settings(wanted.settings);
}

}  // namespace ferry::resources
