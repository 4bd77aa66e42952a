// System V message queues: messages with their types in their order, id, key, limits, owner and
// mode stay; a receiver that sleeps gets what comes.
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

constexpr key_t kKey = 0x3a5e;
constexpr long kForChild = 99;

struct Message {
    long type;
    char text[8000];
};

void send(int queue, long type, const char* text, std::size_t size) {
    Message message = {type, {}};
    std::memcpy(message.text, text, std::strlen(text));
    if (msgsnd(queue, &message, size, 0) != 0) victim::fail("msgsnd: %s", std::strerror(errno));
}

void expect(int queue, long which, long type, const char* text, std::size_t size) {
    Message message = {};
    const ssize_t n = msgrcv(queue, &message, sizeof(message.text), which, IPC_NOWAIT);
    if (n != static_cast<ssize_t>(size) || message.type != type ||
        std::strncmp(message.text, text, sizeof(message.text)) != 0) {
        victim::fail("%zd bytes of type %ld instead of \"%s\"", n, message.type, text);
    }
}

}  // namespace

int main() {
    victim::arm();
    if (msgctl(msgget(IPC_PRIVATE, 0600), IPC_RMID, nullptr) != 0) victim::fail("IPC_RMID");
    const int queue = msgget(kKey, IPC_CREAT | IPC_EXCL | 0620);
    if (queue < 0) victim::fail("msgget: %s", std::strerror(errno));
    send(queue, 7, "first", 6);
    send(queue, 1L << 40, "second", 7000);
    send(queue, 7, "", 0);
    send(queue, 3, "fourth", 7);
    msqid_ds state = {};
    msgctl(queue, IPC_STAT, &state);
    state.msg_qbytes = 7100;
    state.msg_perm.gid = 33;
    if (msgctl(queue, IPC_SET, &state) != 0) victim::fail("IPC_SET: %s", std::strerror(errno));
    const pid_t child = fork();
    if (child == 0) {
        Message message = {};
        while (msgrcv(queue, &message, sizeof(message.text), kForChild, 0) < 0) {
            if (errno != EINTR) _exit(1);
        }
        _exit(std::strcmp(message.text, "late") == 0 ? 0 : 2);
    }
    victim::wait_for_end();

    if (msgget(kKey, 0) != queue) victim::fail("the key leads elsewhere");
    msgctl(queue, IPC_STAT, &state);
    if (state.msg_qbytes != 7100 || state.msg_qnum != 4 || state.msg_perm.gid != 33 ||
        state.msg_perm.mode != 0620) {
        victim::fail("%lu messages of %lu bytes, group %u, mode %o", state.msg_qnum,
                     state.msg_qbytes, state.msg_perm.gid, state.msg_perm.mode);
    }
    send(queue, kForChild, "late", 5);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) victim::fail("the child: %#x", status);
    expect(queue, 3, 3, "fourth", 7);
    expect(queue, 0, 7, "first", 6);
    expect(queue, 0, 1L << 40, "second", 7000);
    expect(queue, 0, 7, "", 0);
    victim::pass();
}
