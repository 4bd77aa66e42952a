// A login server with a shell in a terminal: the session's controlling terminal, its foreground
// group and those in the background, and what the end of the master means for them.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

volatile sig_atomic_t g_hung_up = 0;

void nap() {
    usleep(2000);
}

// In the session, in the foreground: answers each line with its own group and the foreground's.
[[noreturn]] void talk() {
    signal(SIGINT, [](int) { dprintf(1, "interrupted\n"); });
    char line[64];
    for (;;) {
        const ssize_t size = read(0, line, sizeof(line));
        if (size == 0 || (size < 0 && errno != EINTR)) _exit(1);
        if (size > 0) dprintf(1, "%d %d\n", getpgrp() == tcgetpgrp(0), open("/dev/tty", O_RDWR));
    }
}

// Leads the session, in the background.
[[noreturn]] void lead(const char* terminal) {
    setsid();
    const int slave = open(terminal, O_RDWR);  // becomes the controlling terminal
    for (int fd = 0; fd <= 2; ++fd) dup2(slave, fd);
    close(slave);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGHUP, [](int) { g_hung_up = 1; });
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        tcsetpgrp(0, getpid());
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        talk();
    }
    while (g_hung_up == 0) nap();
    waitpid(child, nullptr, 0);
    _exit(tcgetpgrp(0) < 0 ? 0 : 3);
}

void expect(int master, const char* send, const char* want) {
    if (write(master, send, std::strlen(send)) < 0) victim::fail("write: %s", strerror(errno));
    char got[128] = {};
    std::size_t size = 0;
    while (size < std::strlen(want)) {
        const ssize_t n = read(master, got + size, sizeof(got) - 1 - size);
        if (n < 0 && errno != EINTR) victim::fail("read: %s", strerror(errno));
        if (n > 0) size += static_cast<std::size_t>(n);
    }
    if (std::strcmp(got, want) != 0) victim::fail("\"%s\" instead of \"%s\"", got, want);
}

}  // namespace

int main() {
    victim::arm();
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) victim::fail("a terminal");
    const char* terminal = ptsname(master);
    termios modes = {};
    tcgetattr(master, &modes);
    modes.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(master, TCSANOW, &modes);
    const pid_t leader = fork();
    if (leader == 0) {
        close(master);
        lead(terminal);
    }
    expect(master, "a\n", "1 3\r\n");
    victim::wait_for_end();

    if (tcgetsid(master) != leader) victim::fail("the session is %d's", tcgetsid(master));
    expect(master, "b\n", "1 4\r\n");
    expect(master, "\x03", "interrupted\r\n");
    close(master);
    int status = 0;
    if (waitpid(leader, &status, 0) != leader || status != 0) {
        victim::fail("the leader's end: %#x", status);
    }
    victim::pass();
}
