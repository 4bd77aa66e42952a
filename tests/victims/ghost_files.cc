// Files that have been unlinked keep content, holes, owner, mode, times and positions; descriptors
// of one file see each other's writes, whoever has them.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "victim.h"

namespace {

constexpr off_t kFar = 8 << 20;

int open_again(int fd, int flags) {
    return open(("/proc/self/fd/" + std::to_string(fd)).c_str(), flags);
}

void expect_text(const char* what, int fd, off_t at, const char* text) {
    char buffer[16] = {};
    if (pread(fd, buffer, std::strlen(text), at) < 0 || std::strcmp(buffer, text) != 0) {
        victim::fail("%s: '%s'", what, buffer);
    }
}

void expect_attributes(int fd) {
    struct stat now = {};
    fstat(fd, &now);
    if (now.st_nlink != 0 || now.st_size != kFar + 3 || now.st_mtime != 1234) {
        victim::fail("nlink %lu, size %ld, mtime %ld", now.st_nlink, now.st_size, now.st_mtime);
    }
    if ((now.st_mode & 07777) != 0640 || now.st_uid != 12 || now.st_gid != 34) {
        victim::fail("mode %o of %u:%u", now.st_mode, now.st_uid, now.st_gid);
    }
    if (now.st_blocks * 512 >= kFar) victim::fail("the hole is filled");
}

}  // namespace

int main() {
    victim::arm();
    char path[] = "/tmp/victim-ghost-XXXXXX";
    const int file = mkstemp(path);
    const bool written =
        file >= 0 && write(file, "near", 4) == 4 && pwrite(file, "far", 3, kFar) == 3;
    if (!written) victim::fail("set-up: %d", errno);
    const int reader = open(path, O_RDONLY | O_NOFOLLOW);
    lseek(reader, 2, SEEK_SET);
    unlink(path);
    const int appender = open_again(file, O_WRONLY | O_APPEND);
    const timespec times[2] = {{1233, 0}, {1234, 0}};
    if (fchown(file, 12, 34) != 0 || fchmod(file, 0640) != 0) victim::fail("attributes: %d", errno);
    futimens(file, times);
    const int nameless = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (nameless < 0 || write(nameless, "tmpfile", 7) != 7) victim::fail("O_TMPFILE: %d", errno);
    const pid_t child = fork();
    if (child == 0) {
        while (!victim::ended()) usleep(10'000);
        _exit(pwrite(file, "child", 5, 100) == 5 ? 0 : 1);
    }
    victim::wait_for_end();
    expect_attributes(file);
    if (lseek(file, 0, SEEK_CUR) != 4 || lseek(reader, 0, SEEK_CUR) != 2) victim::fail("positions");
    expect_text("near", reader, 0, "near");
    expect_text("far", reader, kFar, "far");
    expect_text("nameless", nameless, 0, "tmpfile");
    if (write(appender, "end", 3) != 3) victim::fail("append: %d", errno);
    expect_text("appended", file, kFar, "farend");
    kill(child, SIGTERM);
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0) victim::fail("child: %#x", status);
    expect_text("the child's", reader, 100, "child");
    if (access(path, F_OK) == 0) victim::fail("%s is there", path);
    victim::pass();
}
