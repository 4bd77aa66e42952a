#include "restore/listeners.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <variant>

namespace ferry::restore {
namespace {

constexpr std::uint32_t kSame = ~0u;  // setresuid(2): leave as it is

const model::Descriptor* descriptor_of(const model::Process& process, model::FileId file) {
    const auto found = std::ranges::find(process.descriptors, file, &model::Descriptor::file);
    return found == process.descriptors.end() ? nullptr : &*found;
}

// Who is to listen.
const model::Process* owner_of(const model::Checkpoint& checkpoint, model::FileId file, Pid pid) {
    const model::Process* first = nullptr;
    for (const model::Process& process : checkpoint.processes) {
        if (descriptor_of(process, file) == nullptr) continue;
        if (process.pid == pid) return &process;
        if (first == nullptr) first = &process;
    }
    return first;
}

bool is_as(const Listener& listener, const model::Credentials& own) {
    return listener.uid == own.euid && listener.gid == own.egid;
}

void add_listen(Program& program, const Listener& listener) {
    program.call("listen", SYS_listen, {listener.fd, listener.backlog});
}

}  // namespace

std::vector<Listener> listeners_of(const model::Checkpoint& checkpoint,
                                   const model::Process& process) {
    std::vector<Listener> listeners;
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* socket = std::get_if<model::UnixSocket>(&file.body);
        if (socket == nullptr || socket->state != TCP_LISTEN || !socket->listener) continue;
        const Pid pid{socket->listener->pid};
        if (owner_of(checkpoint, file.id, pid) != &process) continue;
        listeners.push_back({.fd = descriptor_of(process, file.id)->fd,
                             .backlog = static_cast<int>(socket->backlog),
                             .uid = socket->listener->uid,
                             .gid = socket->listener->gid});
    }
    return listeners;
}

void add_listens_as_others(Program& program, const std::vector<Listener>& listeners,
                           const model::Credentials& own, const model::Credentials& ours) {
    for (const Listener& listener : listeners) {
        if (is_as(listener, own)) continue;
        program.call("setresgid", SYS_setresgid, {kSame, listener.gid, kSame});
        program.call("setresuid", SYS_setresuid, {kSame, listener.uid, kSame});
        add_listen(program, listener);
        program.call("setresuid", SYS_setresuid, {kSame, ours.euid, kSame});
        program.call("setresgid", SYS_setresgid, {kSame, ours.egid, kSame});
    }
}

void add_listens(Program& program, const std::vector<Listener>& listeners,
                 const model::Credentials& own) {
    for (const Listener& listener : listeners) {
        if (is_as(listener, own)) add_listen(program, listener);
    }
}

}  // namespace ferry::restore
