// Locks are held as before: of a process on ranges (F_SETLK), of a description (flock), of a
// description on a range (F_OFD_SETLK), read and write; also a child's own.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "victim.h"

namespace {

std::string g_path;

int reopen() {
    const int fd = open(g_path.c_str(), O_RDWR);
    if (fd < 0) victim::fail("%s: %d", g_path.c_str(), errno);
    return fd;
}

void take(int fd, int command, short type, off_t start, off_t length) {
    struct flock range = {};
    range.l_type = type;
    range.l_start = start;
    range.l_len = length;
    if (fcntl(fd, command, &range) != 0) victim::fail("lock at %ld: %d", start, errno);
}

// Who keeps us from writing at `at`, through a description of our own, which stays open: closing
// any descriptor of a file gives up the locks that the process has there.
struct flock holder(off_t at) {
    struct flock range = {};
    range.l_type = F_WRLCK;
    range.l_start = at;
    range.l_len = 1;
    if (fcntl(reopen(), F_OFD_GETLK, &range) != 0) victim::fail("F_OFD_GETLK: %d", errno);
    return range;
}

void expect(const char* what, off_t at, short type, pid_t pid, off_t start, off_t length) {
    const struct flock found = holder(at);
    const bool same = found.l_type == type &&
                      (type == F_UNLCK ||
                       (found.l_pid == pid && found.l_start == start && found.l_len == length));
    if (!same) {
        victim::fail("%s: type %d of %d, %ld + %ld", what, found.l_type, found.l_pid, found.l_start,
                     found.l_len);
    }
}

}  // namespace

int main() {
    victim::arm();
    char path[] = "victim-locks-XXXXXX";
    const int fd = mkstemp(path);
    g_path = path;
    take(fd, F_SETLK, F_WRLCK, 10, 10);
    take(fd, F_SETLK, F_RDLCK, 40, 5);
    const int ofd = reopen();
    take(ofd, F_OFD_SETLK, F_WRLCK, 100, 0);
    const int whole = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    const int copy = dup(whole);
    if (flock(whole, LOCK_EX) != 0) victim::fail("flock: %d", errno);
    const pid_t child = fork();
    if (child == 0) {
        take(fd, F_SETLK, F_WRLCK, 60, 1);
        while (!victim::ended()) usleep(10'000);
        _exit(0);
    }
    while (holder(60).l_type == F_UNLCK) usleep(10'000);
    victim::wait_for_end();
    expect("write lock", 15, F_WRLCK, getpid(), 10, 10);
    expect("read lock", 42, F_RDLCK, getpid(), 40, 5);
    expect("the child's", 60, F_WRLCK, child, 60, 1);
    expect("of the description", 200, F_WRLCK, -1, 100, 0);
    expect("nobody's", 30, F_UNLCK, 0, 0, 0);
    const int other = open(("/proc/self/fd/" + std::to_string(whole)).c_str(), O_RDWR);
    if (flock(other, LOCK_SH | LOCK_NB) == 0) victim::fail("flock is not held");
    flock(copy, LOCK_UN);  // The same description.
    if (flock(other, LOCK_SH | LOCK_NB) != 0) victim::fail("flock is held by another description");
    kill(child, SIGTERM);
    waitpid(child, nullptr, 0);
    expect("the child's, after its end", 60, F_UNLCK, 0, 0, 0);
    close(ofd);
    expect("of the closed description", 200, F_UNLCK, 0, 0, 0);
    unlink(path);
    victim::pass();
}
