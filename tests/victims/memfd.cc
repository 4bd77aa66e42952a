// memfds whose content changes or is only mapped: one that a child writes into by write(2) and
// through its mapping all the time; one without a descriptor, mapped shared and privately.
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstring>

#include "victim.h"

namespace {

constexpr std::size_t kPage = 4096, kSize = 64 * kPage;

int make(const char* name) {
    const int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, kSize) != 0) victim::fail("memfd %s", name);
    return fd;
}

char* map(int fd, int flags) {
    void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) victim::fail("mmap");
    return static_cast<char*>(memory);
}

// Page 0 by write(2), page 1 through the mapping; both are one more than the last time.
[[noreturn]] void count(int fd, char* memory) {
    std::uint64_t n = 0;
    while (!victim::ended()) {
        ++n;
        if (pwrite(fd, &n, sizeof(n), 0) != sizeof(n)) _exit(1);
        std::memcpy(memory + kPage, &n, sizeof(n));
        usleep(500);
    }
    std::uint64_t found = 0;
    const bool read = pread(fd, &found, sizeof(found), 0) == sizeof(found) && found == n;
    _exit(read && std::memcmp(memory + kPage, &n, sizeof(n)) == 0 ? 0 : 2);
}

}  // namespace

int main() {
    victim::arm();
    const int counted = make("counted");
    char* shared = map(counted, MAP_SHARED);
    const pid_t child = fork();
    if (child == 0) count(counted, shared);

    const int unheld = make("unheld");
    char* only_mapped = map(unheld, MAP_SHARED);
    std::strcpy(only_mapped + 5 * kPage, "mapped");
    std::strcpy(only_mapped + 6 * kPage, "seen");
    char* hidden = map(unheld, MAP_PRIVATE);
    std::strcpy(hidden + 5 * kPage, "hidden");
    close(unheld);
    victim::wait_for_end();

    int status = -1;
    kill(child, SIGTERM);
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("the child found other numbers than it wrote: %#x", status);
    std::uint64_t n = 0;
    if (pread(counted, &n, sizeof(n), 0) != sizeof(n) || n == 0) victim::fail("nothing counted");
    if (std::memcmp(shared + kPage, &n, sizeof(n)) != 0) victim::fail("not the file's mapping");
    if (std::strcmp(only_mapped + 5 * kPage, "mapped") != 0) victim::fail("the mapped content");
    if (std::strcmp(hidden + 5 * kPage, "hidden") != 0) victim::fail("a private page");
    std::strcpy(only_mapped + 6 * kPage, "through");
    if (std::strcmp(hidden + 6 * kPage, "through") != 0) victim::fail("not of one memfd any more");
    victim::pass();
}
