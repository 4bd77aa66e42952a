// A program in a terminal that somebody else holds, as `podman run -t` gives it: its standard
// streams, /dev/console where that is the same, its controlling terminal, its session. It answers
// each line with the line. Argument: a file to report to; without one it makes and holds the
// terminal itself.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <cstring>
#include <string>

#include "victim.h"

namespace {

volatile sig_atomic_t g_disturbed = 0;  // by a signal of the terminal's
int g_console = -1;

std::string path_of(int fd) {
    char path[64] = {};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    return readlink(link.c_str(), path, sizeof path - 1) < 0 ? "nothing" : path;
}

std::string bytes_of(const void* value, std::size_t size) {
    return {static_cast<const char*>(value), size};
}

// What must be as it was.
std::string situation() {
    std::string all;
    for (const int fd : {0, 1, 2, g_console}) {
        termios modes = {};
        winsize size = {};
        if (fd >= 0 && (tcgetattr(fd, &modes) != 0 || ioctl(fd, TIOCGWINSZ, &size) != 0)) {
            victim::fail("descriptor %d is no terminal", fd);
        }
        all += path_of(fd) + bytes_of(&modes, sizeof modes) + bytes_of(&size, sizeof size);
    }
    const int own = open("/dev/tty", O_RDWR | O_NOCTTY);
    if (own < 0) victim::fail("no controlling terminal");
    const pid_t ids[] = {tcgetsid(own), tcgetpgrp(own), tcgetpgrp(0), getsid(0)};
    close(own);
    return all + bytes_of(ids, sizeof ids);
}

void answer_until_end() {
    sigset_t block, old;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &old);
    victim::ready();
    while (!victim::ended()) {
        pollfd input = {.fd = 0, .events = POLLIN, .revents = 0};
        if (ppoll(&input, 1, nullptr, &old) <= 0) continue;
        char line[64];
        const ssize_t size = read(0, line, sizeof line);
        if (size <= 0) victim::fail("hung up");
        dprintf(1, "got %.*s", static_cast<int>(size), line);
    }
    sigprocmask(SIG_SETMASK, &old, nullptr);
}

[[noreturn]] void run() {
    victim::arm();
    for (const int signal : {SIGHUP, SIGWINCH, SIGTTIN, SIGTTOU, SIGCONT}) {
        struct sigaction action = {};
        action.sa_handler = [](int number) { g_disturbed = number; };
        sigaction(signal, &action, nullptr);
    }
    g_console = open("/dev/console", O_RDWR | O_NOCTTY);
    if (g_console >= 0 && !isatty(g_console)) g_console = -1;
    termios modes = {};
    tcgetattr(0, &modes);
    modes.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHOCTL);
    modes.c_oflag &= ~static_cast<tcflag_t>(ONLCR);
    modes.c_cc[VINTR] = 7;
    tcsetattr(0, TCSANOW, &modes);
    const winsize size = {.ws_row = 33, .ws_col = 101, .ws_xpixel = 5, .ws_ypixel = 6};
    ioctl(0, TIOCSWINSZ, &size);
    g_disturbed = 0;
    const std::string before = situation();
    answer_until_end();
    if (g_disturbed != 0) victim::fail("signal %d", g_disturbed);
    if (situation() != before) victim::fail("something has changed");
    victim::pass();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) {
        const int report = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        stdout = fdopen(dup2(report, 100), "a");
        close(report);
        run();
    }
    victim::arm();
    const int report = dup2(1, 100);
    int master = -1;
    const pid_t child = forkpty(&master, nullptr, nullptr, nullptr);
    if (child == 0) {
        stdout = fdopen(report, "a");
        run();
    }
    int status = 0;
    while (waitpid(child, &status, 0) != child) {
        if (victim::ended()) kill(child, SIGTERM);
    }
    return WEXITSTATUS(status);
}
