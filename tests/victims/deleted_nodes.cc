// A working directory, an open directory and FIFOs that have been removed: still there for whoever
// has them, without a name, with owner and mode; what was written into a FIFO is in it.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "victim.h"

namespace {

std::string link_of(const char* link) {
    char target[256] = {};
    if (readlink(link, target, sizeof(target) - 1) < 0) victim::fail("%s: %d", link, errno);
    return target;
}

void expect_nameless(const char* what, int fd, mode_t mode) {
    struct stat now = {};
    if (fstat(fd, &now) != 0) victim::fail("%s is gone", what);
    if (now.st_nlink != 0) victim::fail("%s has a name", what);
    if (now.st_mode != mode || now.st_uid != 12) victim::fail("%s: mode %o", what, now.st_mode);
}

int open_fifo(const std::string& path, int flags) {
    return open(path.c_str(), flags | O_NONBLOCK);
}

}  // namespace

int main() {
    victim::arm();
    umask(0);
    char base[] = "/tmp/victim-deleted-XXXXXX";
    const bool made = mkdtemp(base) != nullptr;
    const std::string inner = std::string(base) + "/inner", fifo = std::string(base) + "/fifo";
    if (!made || mkdir(inner.c_str(), 0750) != 0 || mkfifo(fifo.c_str(), 0620) != 0) {
        victim::fail("set-up: %d", errno);
    }
    for (const std::string& path : {inner, fifo}) {
        if (chown(path.c_str(), 12, 34) != 0) victim::fail("chown");
    }
    const int reader = open_fifo(fifo, O_RDONLY), writer = open_fifo(fifo, O_WRONLY);
    const int directory = open(inner.c_str(), O_RDONLY | O_DIRECTORY);
    if (write(writer, "in it", 5) != 5 || chdir(inner.c_str()) != 0) victim::fail("chdir");
    unlink(fifo.c_str());
    rmdir(inner.c_str());
    const std::string before = link_of("/proc/self/cwd");
    victim::wait_for_end();
    expect_nameless("the directory", directory, S_IFDIR | 0750);
    const int here = open(".", O_RDONLY | O_DIRECTORY);
    expect_nameless("the working directory", here, S_IFDIR | 0750);
    struct stat one = {}, other = {};
    fstat(here, &one);
    fstat(directory, &other);
    if (one.st_ino != other.st_ino) victim::fail("one directory has become two");
    if (link_of("/proc/self/cwd") != before)
        victim::fail("it is %s", link_of("/proc/self/cwd").c_str());
    if (open("new", O_CREAT | O_RDWR, 0600) >= 0) victim::fail("files can be made in it");
    expect_nameless("the FIFO", reader, S_IFIFO | 0620);
    char text[16] = {};
    if (read(reader, text, sizeof(text)) != 5 || std::string(text) != "in it") {
        victim::fail("'%s' is in the FIFO", text);
    }
    if (write(writer, "more", 4) != 4 || read(reader, text, sizeof(text)) != 4) {
        victim::fail("the ends of the FIFO have come apart");
    }
    close(writer);
    if (read(reader, text, sizeof(text)) != 0) victim::fail("somebody else writes into the FIFO");
    if (rmdir(base) != 0) victim::fail("something was left in %s", base);
    victim::pass();
}
