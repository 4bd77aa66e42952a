// Sessions and process groups whose leaders have ended, waited for or not: a daemon that forked
// twice, a pipeline whose first process is done. And who gets orphans, and who hears of the end of
// its parent.
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <initializer_list>

#include "victim.h"

namespace {

int g_pipe[2];

void tell() {
    const pid_t own = getpid();
    write(g_pipe[1], &own, sizeof(own));
}
pid_t hear() {
    pid_t pid = 0;
    if (read(g_pipe[0], &pid, sizeof(pid)) != sizeof(pid)) victim::fail("nobody tells");
    return pid;
}

[[noreturn]] void stay() {
    tell();
    while (!victim::ended()) pause();
    _exit(0);
}

// The leader has ended when this returns; `reap`: and was waited for.
pid_t start(bool session, bool reap, pid_t* leader) {
    *leader = fork();
    if (*leader == 0) {
        if (session ? setsid() < 0 : setpgid(0, 0) < 0) _exit(1);
        if (fork() == 0) stay();
        _exit(3);
    }
    const pid_t member = hear();
    siginfo_t ended = {};
    while (waitid(P_PID, static_cast<id_t>(*leader), &ended, WEXITED | (reap ? 0 : WNOWAIT)) < 0) {
    }
    return member;
}

void expect(const char* what, pid_t member, pid_t session, pid_t group, pid_t parent) {
    if (getsid(member) != session || getpgid(member) != group) {
        victim::fail("%s: session %d, group %d", what, getsid(member), getpgid(member));
    }
    kill(member, SIGTERM);
    int status = 0;
    while (waitpid(member, &status, 0) < 0 && errno == EINTR) {
    }
    if (parent == getpid() && status != 0) victim::fail("%s ended with %#x", what, status);
}

// Its child hears of its end, and then has the next subreaper for a parent.
pid_t start_mourner() {
    const pid_t middle = fork();
    if (middle != 0) {
        hear();
        return middle;
    }
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        tell();
        while (!victim::ended()) pause();
        tell();
        _exit(5);
    }
    while (!victim::ended()) pause();
    _exit(0);
}

}  // namespace

int main() {
    victim::arm();
    pipe(g_pipe);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t leader[4];
    const pid_t daemon = start(true, true, &leader[0]), fresh = start(true, false, &leader[1]);
    const pid_t grouped = start(false, true, &leader[2]), job = start(false, false, &leader[3]);
    const pid_t middle = start_mourner();
    victim::wait_for_end();
    const pid_t own = getpid();
    expect("daemon", daemon, leader[0], leader[0], own);
    expect("fresh daemon", fresh, leader[1], leader[1], own);
    expect("group", grouped, getsid(0), leader[2], own);
    expect("fresh group", job, getsid(0), leader[3], own);
    for (const pid_t zombie : {leader[1], leader[3]}) {
        int status = 0;
        if (waitpid(zombie, &status, WNOHANG) != zombie || WEXITSTATUS(status) != 3) {
            victim::fail("a leader that was not waited for: %#x", status);
        }
    }
    kill(middle, SIGTERM);
    waitpid(middle, nullptr, 0);
    const pid_t mourner = hear();
    int status = 0;
    if (waitpid(mourner, &status, 0) != mourner || WEXITSTATUS(status) != 5) {
        victim::fail("the orphan: %d, %#x", errno, status);
    }
    victim::pass();
}
