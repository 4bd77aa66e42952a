// A family of processes: one that has ended and waits for its parent, one in a session of its own,
// one in a group of its own, and one that started its session when it had a child already.
#include <sys/wait.h>

#include <initializer_list>

#include "victim.h"

namespace {

int g_pipe[2];

// Tells the parent that it is there, and waits for the end.
[[noreturn]] void stay(int status) {
    char byte = 'r';
    write(g_pipe[1], &byte, 1);
    while (!victim::ended()) pause();
    _exit(status);
}

pid_t make(int kind) {
    const pid_t child = fork();
    if (child != 0) return child;
    if (kind == 0) setsid();
    if (kind == 1) setpgid(0, 0);
    if (kind == 2) {
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            while (!victim::ended()) pause();
            _exit(getsid(0) != getsid(getppid()) ? 9 : 1);
        }
        setsid();
        char byte = 'r';
        write(g_pipe[1], &byte, 1);
        while (!victim::ended()) pause();
        kill(grandchild, SIGTERM);
        int status = 0;
        while (waitpid(grandchild, &status, 0) < 0) {
        }
        _exit(WIFEXITED(status) && WEXITSTATUS(status) == 9 ? 12 : 1);
    }
    stay(10 + kind);
}

void expect_exit(const char* who, pid_t child, int expected) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
        victim::fail("%s ended with %#x", who, status);
    }
}

}  // namespace

int main() {
    victim::arm();
    pipe(g_pipe);
    const pid_t session = make(0), group = make(1), parent = make(2);
    char bytes[3];
    for (char& byte : bytes) read(g_pipe[0], &byte, 1);
    const pid_t ended = fork();
    if (ended == 0) _exit(7);
    const pid_t killed = fork();
    if (killed == 0) pause();
    kill(killed, SIGKILL);
    usleep(20'000);
    victim::wait_for_end();
    if (getsid(session) != session || getpgid(session) != session) victim::fail("session");
    if (getsid(group) != getsid(0) || getpgid(group) != group) victim::fail("group");
    if (getsid(parent) != parent) victim::fail("the parent's session");
    for (const pid_t child : {session, group, parent}) kill(child, SIGTERM);
    expect_exit("the session leader", session, 10);
    expect_exit("the group leader", group, 11);
    expect_exit("the parent", parent, 12);
    expect_exit("the ended one", ended, 7);
    int status = 0;
    if (waitpid(killed, &status, 0) != killed || !WIFSIGNALED(status)) victim::fail("killed");
    victim::pass();
}
