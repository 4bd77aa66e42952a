// A program in a memfd: its descriptor for writing is open, and it can be executed all the same, as
// only the open file that memfd_create(2) made allows.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

void copy_into(int file, const char* path) {
    const int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) victim::fail("%s", path);
    char buffer[65536];
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0;) {
        if (write(file, buffer, static_cast<std::size_t>(n)) != n) victim::fail("write");
    }
    close(from);
}

void execute(int file) {
    const pid_t child = fork();
    if (child == 0) {
        char name[] = "true";
        char* arguments[] = {name, nullptr};
        execveat(file, "", arguments, environ, AT_EMPTY_PATH);
        _exit(errno);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("execveat: %s", std::strerror(WEXITSTATUS(status)));
}

}  // namespace

int main() {
    victim::arm();
    const int file = memfd_create("program", MFD_CLOEXEC);
    copy_into(file, "/bin/true");
    void* const head = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (head == MAP_FAILED) victim::fail("mmap");
    execute(file);
    victim::wait_for_end();
    execute(file);
    if (std::memcmp(head, "\177ELF", 4) != 0) victim::fail("the mapping");
    if (lseek(file, 0, SEEK_CUR) <= 0) victim::fail("the position");
    victim::pass();
}
