// Descriptors that share a description (dup, fork) share its position; another open does not.
#include <fcntl.h>
#include <sys/wait.h>

#include <cstdlib>

#include "victim.h"

namespace {
void expect_position(int fd, off_t wanted, const char* what) {
    const off_t position = lseek(fd, 0, SEEK_CUR);
    if (position != wanted) victim::fail("%s at %lld", what, static_cast<long long>(position));
}
}  // namespace

int main() {
    victim::arm();
    char path[] = "victim-positions-XXXXXX";
    const int shared = mkstemp(path);
    if (shared < 0 || write(shared, "0123456789", 10) != 10) victim::fail("set-up");
    lseek(shared, 3, SEEK_SET);
    const int copy = dup(shared);
    const int own = open(path, O_RDONLY);
    lseek(own, 8, SEEK_SET);
    const pid_t child = fork();
    if (child == 0) {
        // Moves the shared position when the parent says so by SIGTERM.
        while (!victim::ended()) usleep(10'000);
        char two[2];
        _exit(read(shared, two, 2) == 2 && two[0] == '3' ? 0 : 1);
    }
    victim::wait_for_end();
    expect_position(shared, 3, "shared");
    expect_position(copy, 3, "duplicate");
    expect_position(own, 8, "own");
    kill(child, SIGTERM);
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0) victim::fail("child: %#x", status);
    expect_position(shared, 5, "shared, after the child's read,");
    expect_position(copy, 5, "duplicate, after the child's read,");
    expect_position(own, 8, "own, after the child's read,");
    unlink(path);
    victim::pass();
}
