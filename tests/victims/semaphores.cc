// System V semaphores: values, id, key, owner and mode stay, a sleeper is woken, and what processes
// owe (SEM_UNDO) is paid at their end.
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "victim.h"

namespace {

constexpr key_t kKey = 0x5e3a;

void operate(int set, unsigned short number, int change, int flags = 0) {
    sembuf operation = {number, static_cast<short>(change), static_cast<short>(flags)};
    // semop(2) is never restarted by the kernel (signal(7)): a stop may show as EINTR.
    while (semop(set, &operation, 1) != 0) {
        if (errno != EINTR) victim::fail("semop %d %+d: %s", number, change, std::strerror(errno));
    }
}

void expect(int set, int number, int wanted) {
    const int value = semctl(set, number, GETVAL);
    if (value != wanted) victim::fail("semaphore %d is %d, not %d", number, value, wanted);
}

pid_t start(void (*child)(int), int set) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    child(set);
    _exit(0);
}

// A process's threads owe together.
void owe(int set) {
    std::thread idle([] {
        for (;;) pause();
    });
    idle.detach();
    operate(set, 1, 3, SEM_UNDO);
    operate(set, 2, -30000, SEM_UNDO);
    operate(set, 3, 1);  // ready
    for (;;) pause();
}

void sleep_there(int set) {
    operate(set, 4, -2);
}

}  // namespace

int main() {
    victim::arm();
    // So that the id is not the first one that the kernel would give.
    if (semctl(semget(IPC_PRIVATE, 1, 0600), 0, IPC_RMID) != 0) victim::fail("IPC_RMID");
    const int set = semget(kKey, 5, IPC_CREAT | IPC_EXCL | 0640);
    if (set < 0) victim::fail("semget: %s", std::strerror(errno));
    semid_ds owner = {};
    semctl(set, 0, IPC_STAT, &owner);
    owner.sem_perm.uid = 33;
    owner.sem_perm.mode = 0604;
    if (semctl(set, 0, IPC_SET, &owner) != 0) victim::fail("IPC_SET: %s", std::strerror(errno));
    unsigned short values[] = {5, 0, 32767, 0, 0};
    semctl(set, 0, SETALL, values);
    operate(set, 0, -1, SEM_UNDO);
    const pid_t debtor = start(owe, set);
    const pid_t sleeper = start(sleep_there, set);
    operate(set, 3, -1);
    victim::wait_for_end();

    if (semget(kKey, 0, 0) != set) victim::fail("the key leads elsewhere");
    semid_ds now = {};
    semctl(set, 0, IPC_STAT, &now);
    if (now.sem_perm.uid != 33 || now.sem_perm.cuid != getuid() || now.sem_perm.mode != 0604) {
        victim::fail("owner %u, creator %u, mode %o", now.sem_perm.uid, now.sem_perm.cuid,
                     now.sem_perm.mode);
    }
    expect(set, 0, 4);
    expect(set, 1, 3);
    expect(set, 2, 2767);
    expect(set, 3, 0);
    kill(debtor, SIGKILL);
    waitpid(debtor, nullptr, 0);
    expect(set, 1, 0);
    expect(set, 2, 32767);
    operate(set, 4, 2);
    int status = 0;
    if (waitpid(sleeper, &status, 0) != sleeper || status != 0) victim::fail("the sleeper");
    expect(set, 4, 0);
    const pid_t heir = fork();  // owes nothing
    if (heir == 0) _exit(0);
    waitpid(heir, nullptr, 0);
    expect(set, 0, 4);
    victim::pass();
}
