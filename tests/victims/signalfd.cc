// A signalfd still takes its signals and only those, one that was pending before included.
#include <sys/signalfd.h>

#include <cerrno>

#include "victim.h"

int main() {
    victim::arm();
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGUSR1);
    sigaddset(&taken, SIGRTMIN + 3);
    sigset_t blocked = taken;
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    const int fd = signalfd(-1, &taken, SFD_NONBLOCK);
    if (fd < 0) victim::fail("signalfd: %d", errno);
    kill(getpid(), SIGUSR1);
    victim::wait_for_end();
    signalfd_siginfo info = {};
    if (read(fd, &info, sizeof(info)) != sizeof(info) || info.ssi_signo != SIGUSR1) {
        victim::fail("the pending signal is not there");
    }
    kill(getpid(), SIGUSR2);
    if (read(fd, &info, sizeof(info)) != -1 || errno != EAGAIN) victim::fail("another signal");
    kill(getpid(), SIGRTMIN + 3);
    if (read(fd, &info, sizeof(info)) != sizeof(info) ||
        info.ssi_signo != static_cast<unsigned>(SIGRTMIN + 3)) {
        victim::fail("a later signal is not there");
    }
    victim::pass();
}
