#include "restore/semaphore_undo.h"

#include <sys/syscall.h>

#include <algorithm>

#include "base/check.h"
#include "resources/semaphore_set.h"

namespace ferry::restore {

Result<> set_semaphore_undo(StubProcess& process, const model::Checkpoint& checkpoint,
                            const model::Process& wanted) {
    if (wanted.semaphore_undo.empty()) return {};
    CHECK(checkpoint.ipc.has_value());  // a decoded checkpoint has been validated
    Program program;
    for (const model::SemaphoreUndo& undo : wanted.semaphore_undo) {
        const auto set =
            std::ranges::find(checkpoint.ipc->semaphores, undo.set,
                              [](const model::SemaphoreSet& s) { return s.object.id; });
        CHECK(set != checkpoint.ipc->semaphores.end());
        for (const std::vector<sembuf>& operations :
             resources::undo_operations(set->values[undo.number], undo)) {
            program.call("semop", SYS_semop,
                         {undo.set, program.add_array(std::span(operations)), operations.size()});
            TRY(process.leader().run_if_full(program));
        }
    }
    return process.leader().run_rest(program);
}

}  // namespace ferry::restore
