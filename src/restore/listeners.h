// Whose a listening Unix socket is (SO_PEERCRED, unix(7)): whoever connects sees the process that
// called listen(2) last, and its ids of that moment.
#pragma once

#include <vector>

#include "model/checkpoint.h"
#include "restore/program.h"

namespace ferry::restore {

// A socket that one process has to listen on again.
struct Listener {
    int fd = -1;
    int backlog = 0;
    std::uint32_t uid = 0, gid = 0;  // effective
};

// Those of this process: that listened, or has the descriptor first where the one that did is gone
// or has closed it.
[[nodiscard]] std::vector<Listener> listeners_of(const model::Checkpoint& checkpoint,
                                                 const model::Process& process);

// For a task that still has our ids, to which it returns: those that listened with others than its
// own.
void add_listens_as_others(Program& program, const std::vector<Listener>& listeners,
                           const model::Credentials& own, const model::Credentials& ours);
// For a task that has its own ids: the rest.
void add_listens(Program& program, const std::vector<Listener>& listeners,
                 const model::Credentials& own);

}  // namespace ferry::restore
