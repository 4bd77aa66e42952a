// A parent that forks all the time sees each of its children end well.
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

int main() {
    victim::arm();
    victim::ready();
    unsigned long children = 0;
    while (!victim::ended()) {
        const pid_t child = fork();
        if (child == 0) _exit(7);
        if (child < 0) victim::fail("fork: %s", std::strerror(errno));
        int status = 0;
        while (waitpid(child, &status, 0) < 0) {
            if (errno != EINTR) victim::fail("waitpid: %s", std::strerror(errno));
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) victim::fail("child: %#x", status);
        ++children;
    }
    if (children == 0) victim::fail("no children");
    victim::pass();
}
