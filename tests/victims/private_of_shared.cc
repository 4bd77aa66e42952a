// Private mappings of memory that is in no file: of the object behind MAP_SHARED | MAP_ANONYMOUS,
// which /proc/self/map_files gives, and of a memfd. Pages written to are the mapping's own; the
// others go on showing the object, also what is written to it later, and in a child.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>

#include "victim.h"

namespace {

constexpr std::size_t kPage = 4096, kBytes = 8 * kPage;

struct Pair {
    const char* what;
    char* shared;
    char* own;  // of its second page and what follows
};

char* map(int flags, int fd, off_t offset) {
    const std::size_t bytes = kBytes - static_cast<std::size_t>(offset);
    void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
    if (mapped == MAP_FAILED) victim::fail("mmap: %d", errno);
    return static_cast<char*>(mapped);
}

Pair prepare(const char* what, char* shared, int fd) {
    for (std::size_t i = 0; i < kBytes / kPage - 1; ++i) {
        shared[i * kPage] = static_cast<char>('a' + i);
    }
    const Pair pair = {what, shared, map(MAP_PRIVATE, fd, kPage)};
    pair.own[kPage] = 'P';
    pair.own[2 * kPage] = '\0';  // zeros hide the object's content, too
    return pair;
}

void expect(const char* what, const char* which, char found, char wanted) {
    if (found != wanted) victim::fail("%s, %s: %d instead of %d", what, which, found, wanted);
}

void check(const Pair& pair) {
    expect(pair.what, "not written to", pair.own[0], 'b');
    expect(pair.what, "its own", pair.own[kPage], 'P');
    expect(pair.what, "the object under it", pair.shared[2 * kPage], 'c');
    expect(pair.what, "its own, zeros", pair.own[2 * kPage], '\0');
    pair.shared[4 * kPage] = 'S';
    expect(pair.what, "the object written to", pair.own[3 * kPage], 'S');
    pair.shared[7 * kPage] = 'L';
    expect(pair.what, "the last page", pair.own[6 * kPage], 'L');
    pair.own[4 * kPage] = 'Q';
    expect(pair.what, "the object under a new page", pair.shared[5 * kPage], 'f');
}

}  // namespace

int main() {
    victim::arm();
    char* const memory = map(MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char link[64];
    std::snprintf(link, sizeof(link), "/proc/self/map_files/%lx-%lx",
                  reinterpret_cast<unsigned long>(memory),
                  reinterpret_cast<unsigned long>(memory) + kBytes);
    const int object = open(link, O_RDWR);
    if (object < 0) victim::fail("%s: %d", link, errno);
    const Pair anonymous = prepare("anonymous", memory, object);
    close(object);
    const int memfd = memfd_create("private", 0);
    if (ftruncate(memfd, kBytes) != 0) victim::fail("ftruncate: %d", errno);
    const Pair of_memfd = prepare("memfd", map(MAP_SHARED, memfd, 0), memfd);
    close(memfd);
    const pid_t child = fork();
    if (child == 0) {
        victim::arm();
        while (!victim::ended()) usleep(1000);
        const bool shows = anonymous.own[0] == 'b' && anonymous.own[kPage] == 'P' &&
                           of_memfd.own[0] == 'b' && of_memfd.own[kPage] == 'P';
        _exit(shows ? 0 : 1);
    }
    victim::wait_for_end();
    kill(child, SIGTERM);
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) victim::fail("the child ended with %#x", status);
    check(anonymous);
    check(of_memfd);
    victim::pass();
}
