#include "migrate/same_layout.h"

#include <algorithm>

namespace ferry::migrate {
namespace {

bool same_objects(const model::Checkpoint& a, const model::Checkpoint& b) {
    const auto same = [](const model::SharedMemory& x, const model::SharedMemory& y) {
        return x.id == y.id && x.bytes == y.bytes;
    };
    return std::ranges::equal(a.shared_memory(), b.shared_memory(), same);
}

bool same_terminals(const model::Checkpoint& a, const model::Checkpoint& b) {
    const auto same = [](const model::Terminal& x, const model::Terminal& y) {
        return x.index == y.index && x.session == y.session && x.is_given() == y.is_given();
    };
    return std::ranges::equal(a.terminals, b.terminals, same);
}

}  // namespace

bool same_layout(const model::Process& a, const model::Process& b) {
    const auto same_tid = [](const model::Thread& x, const model::Thread& y) {
        return x.tid == y.tid;
    };
    return a.pid == b.pid && a.parent == b.parent && a.is_zombie == b.is_zombie &&
           a.address_space.vmas == b.address_space.vmas && a.terminal == b.terminal &&
           std::ranges::equal(a.threads, b.threads, same_tid);
}

bool same_layout(const model::Checkpoint& a, const model::Checkpoint& b) {
    return a.processes.size() == b.processes.size() && same_objects(a, b) && same_terminals(a, b) &&
           std::ranges::all_of(a.processes, [&b](const model::Process& process) {
               const model::Process* other = b.find_process(process.pid);
               return other != nullptr && same_layout(process, *other);
           });
}

bool same_processes(const model::Checkpoint& a, const model::Checkpoint& b) {
    return a.processes.size() == b.processes.size() && same_terminals(a, b) &&
           std::ranges::all_of(a.processes, [&b](const model::Process& process) {
               return b.find_process(process.pid) != nullptr;
           });
}

}  // namespace ferry::migrate
