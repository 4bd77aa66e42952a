#include "restore/queue_notifications.h"

#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/check.h"

namespace ferry::restore {
namespace {

int descriptor_of(const model::PosixQueue& queue, const model::Checkpoint& checkpoint,
                  const model::Process& process) {
    const auto found =
        std::ranges::find_if(process.descriptors, [&](const model::Descriptor& descriptor) {
            const auto* file =
                std::get_if<model::MessageQueueFile>(&checkpoint.find_file(descriptor.file)->body);
            return file != nullptr && file->queue == queue.inode;
        });
    CHECK(found != process.descriptors.end());  // a decoded checkpoint has been validated
    return found->fd;
}

}  // namespace

Result<> register_for_messages(StubProcess& process, const model::Checkpoint& checkpoint,
                               const model::Process& wanted) {
    if (!checkpoint.ipc) return {};
    Program program;
    for (const model::PosixQueue& queue : checkpoint.ipc->posix_queues) {
        if (!queue.notification || queue.notification->pid != wanted.pid) continue;
        sigevent event = {};
        event.sigev_notify = queue.notification->signal == 0 ? SIGEV_NONE : SIGEV_SIGNAL;
        event.sigev_signo = queue.notification->signal;
        program.call("mq_notify", SYS_mq_notify,
                     {descriptor_of(queue, checkpoint, wanted), program.add_value(event)});
        TRY(process.leader().run_if_full(program));
    }
    return process.leader().run_rest(program);
}

}  // namespace ferry::restore
