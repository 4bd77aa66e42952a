// An unlinked file that is mapped: a shared mapping and the descriptor are the same file; a private
// mapping has its own pages where it was written to, and the file's elsewhere.
#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "victim.h"

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kBytes = 4 * kPage;

char* map(int fd, int flags) {
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (mapped == MAP_FAILED) victim::fail("mmap: %d", errno);
    return static_cast<char*>(mapped);
}

int make() {
    char path[] = "/tmp/victim-mapped-XXXXXX";
    const int fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, kBytes) != 0) victim::fail("set-up: %d", errno);
    unlink(path);
    return fd;
}

void expect(const char* what, char found, char wanted) {
    if (found != wanted) victim::fail("%s: '%c' instead of '%c'", what, found, wanted);
}

}  // namespace

int main() {
    victim::arm();
    const int kept = make();
    char* const shared = map(kept, MAP_SHARED);
    char* const own = map(kept, MAP_PRIVATE);
    const int closed = make();
    char* const only_mapped = map(closed, MAP_SHARED);
    close(closed);
    shared[0] = 'a';
    shared[kPage] = 'b';
    own[0] = 'p';
    only_mapped[kBytes - 1] = 'z';
    victim::ready();
    // Written all the time: also while pages are copied ahead.
    unsigned counter = 0;
    while (!victim::ended()) {
        ++counter;
        std::memcpy(shared + 2 * kPage, &counter, sizeof(counter));
        std::memcpy(own + 3 * kPage, &counter, sizeof(counter));
    }
    unsigned in_file = 0, in_private = 0;
    pread(kept, &in_file, sizeof(in_file), 2 * kPage);
    std::memcpy(&in_private, own + 3 * kPage, sizeof(in_private));
    if (in_file != counter || in_private != counter) {
        victim::fail("counted to %u, file %u, private %u", counter, in_file, in_private);
    }
    expect("private", own[0], 'p');
    expect("file under the private page", shared[0], 'a');
    expect("private, never written", own[kPage], 'b');
    expect("only mapped", only_mapped[kBytes - 1], 'z');
    shared[kPage] = 'c';
    char byte = 0;
    pread(kept, &byte, 1, kPage);
    expect("file after a write to the mapping", byte, 'c');
    victim::pass();
}
