// Guard pages (MADV_GUARD_INSTALL, Linux 6.13; with files and in shared memory 6.15): touching them
// is SIGSEGV, what lies beside them is as it was. Some come and go all the time, so that they do
// while pages are copied ahead. A locked mapping has one, too.
#include <setjmp.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "victim.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

namespace {

constexpr std::size_t kPage = 4096, kPages = 16, kBytes = kPages * kPage;

sigjmp_buf g_back;

void on_segv(int) {
    siglongjmp(g_back, 1);
}

bool is_guard(volatile char* page) {
    if (sigsetjmp(g_back, 1) != 0) return true;
    static_cast<void>(*page);
    return false;
}

bool install(char* page, std::size_t pages) {
    return madvise(page, pages * kPage, MADV_GUARD_INSTALL) == 0;
}

// Every page has its number in it; the second to fourth are guards.
char* prepare(int flags, int fd) {
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (mapped == MAP_FAILED) victim::fail("mmap: %d", errno);
    auto* memory = static_cast<char*>(mapped);
    for (std::size_t i = 0; i < kPages; ++i) memory[i * kPage] = static_cast<char>('a' + i);
    return install(memory + kPage, 3) ? memory : nullptr;
}

void check(const char* what, char* memory, std::size_t from) {
    if (memory == nullptr) return;  // not with this kernel
    for (std::size_t i = from; i < kPages; ++i) {
        const bool is = is_guard(memory + i * kPage);
        if (is != (i >= 1 && i <= 3)) victim::fail("%s: page %zu %d", what, i, is);
        if (!is && memory[i * kPage] != static_cast<char>('a' + i)) {
            victim::fail("%s: page %zu has '%c'", what, i, memory[i * kPage]);
        }
    }
}

}  // namespace

int main() {
    victim::arm();
    signal(SIGSEGV, on_segv);
    char* const plain = prepare(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (plain == nullptr) {
        victim::wait_for_end();
        victim::pass();
    }
    char path[] = "/tmp/victim-guards-XXXXXX";
    const int file = mkstemp(path);
    if (file < 0 || ftruncate(file, kBytes) != 0) victim::fail("set-up: %d", errno);
    unlink(path);
    char* const shared = prepare(MAP_SHARED | MAP_ANONYMOUS, -1);
    char* const of_file = prepare(MAP_SHARED, file);
    char* const own = prepare(MAP_PRIVATE, file);
    char* const locked = prepare(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    mlock(locked, kBytes);
    char* const changing = prepare(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    victim::ready();
    // The last page is removed as often as it is installed; the first has its turns.
    bool first = false;
    while (!victim::ended()) {
        first = !first;
        if (first && !install(changing, 1)) victim::fail("install: %d", errno);
        if (!first && madvise(changing, kPage, MADV_GUARD_REMOVE) != 0) victim::fail("remove");
        if (!first) changing[0] = 'n';
        if (!install(changing + kBytes - kPage, 1)) victim::fail("install: %d", errno);
        madvise(changing + kBytes - kPage, kPage, MADV_GUARD_REMOVE);
        changing[kBytes - kPage] = static_cast<char>('a' + kPages - 1);
    }
    if (is_guard(changing) != first) victim::fail("the page that has turns: %d", first);
    if (!first && changing[0] != 'n') victim::fail("the page that has turns: '%c'", changing[0]);
    check("changing", changing, 1);
    check("private", plain, 0);
    check("shared", shared, 0);
    check("of a file, shared", of_file, 0);
    check("of a file, private", own, 0);
    check("locked", locked, 0);
    victim::pass();
}
