// The heap goes on where it ended, the stack grows into fresh pages, and protected, unmapped and
// untouched memory is what it was.
#include <setjmp.h>
#include <sys/mman.h>

#include <cstring>

#include "victim.h"

namespace {

sigjmp_buf g_jump;
void on_fault(int) {
    siglongjmp(g_jump, 1);
}
bool faults(volatile char* address, bool write) {
    if (sigsetjmp(g_jump, 1) != 0) return true;
    if (write) {
        *address = 1;
    } else {
        static_cast<void>(*address);
    }
    return false;
}

int sink(char* p) {
    return p[0] + p[4095];
}
int grow(int depth) {
    char page[4096];
    std::memset(page, depth, sizeof(page));
    return depth == 0 ? sink(page) : grow(depth - 1) + sink(page);
}

char* map(std::size_t size, int protection) {
    return static_cast<char*>(mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

}  // namespace

int main() {
    victim::arm();
    static char output[256];
    std::setvbuf(stdout, output, _IOLBF, sizeof(output));  // nobody else moves the heap's end
    struct sigaction action = {};
    action.sa_handler = on_fault;
    sigaction(SIGSEGV, &action, nullptr);
    auto* heap = static_cast<char*>(sbrk(3 << 20));
    std::memset(heap, 0x5a, 3 << 20);
    char* read_only = map(8192, PROT_READ | PROT_WRITE);
    std::memset(read_only, 0x77, 8192);
    mprotect(read_only, 4096, PROT_READ);
    mprotect(read_only + 4096, 4096, PROT_NONE);
    char* untouched = map(64 << 20, PROT_READ | PROT_WRITE);
    char* hole = map(3 * 4096, PROT_READ | PROT_WRITE);
    munmap(hole + 4096, 4096);
    victim::wait_for_end();
    if (sbrk(0) != heap + (3 << 20)) victim::fail("the heap ends elsewhere");
    if (sbrk(1 << 20) != heap + (3 << 20)) victim::fail("the heap does not go on");
    for (int i = 0; i < 3 << 20; ++i) {
        if (heap[i] != 0x5a) victim::fail("heap byte %d is %d", i, heap[i]);
    }
    std::memset(heap + (3 << 20), 1, 1 << 20);
    if (grow(1000) == 0) victim::fail("the stack does not grow");
    if (read_only[100] != 0x77) victim::fail("read-only memory changed");
    if (!faults(read_only, true)) victim::fail("read-only memory is writable");
    if (!faults(read_only + 4096, false)) victim::fail("PROT_NONE memory is readable");
    mprotect(read_only + 4096, 4096, PROT_READ);
    if (read_only[4096] != 0x77) victim::fail("PROT_NONE memory changed");
    if (!faults(hole + 4096, false)) victim::fail("unmapped memory is mapped");
    for (std::size_t i = 0; i < 64u << 20; i += 4096) {
        if (untouched[i] != 0) victim::fail("untouched memory is not zero");
    }
    victim::pass();
}
