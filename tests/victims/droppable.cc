// MAP_DROPPABLE memory (Linux 6.11): still there, empty or as it was, and still wiped in a child.
// What lies beside it is kept. Where the kernel does not have it nothing is tested.
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "victim.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

namespace {

constexpr std::size_t kPage = 4096, kBytes = 8 * kPage;

char* map(int kind) {
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? nullptr : static_cast<char*>(mapped);
}

// The flags that smaps shows of the mapping that begins there.
std::string flags_of(const char* address) {
    char head[32];
    std::snprintf(head, sizeof(head), "%lx-", reinterpret_cast<unsigned long>(address));
    std::ifstream smaps("/proc/self/smaps");
    bool found = false;
    for (std::string line; std::getline(smaps, line);) {
        if (line.starts_with(head)) found = true;
        if (found && line.starts_with("VmFlags:")) return line;
    }
    return "not mapped";
}

// The first byte of the mapping, as a child sees it.
int in_a_child(const char* address) {
    const pid_t child = fork();
    if (child == 0) _exit(static_cast<unsigned char>(address[0]));
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

int main() {
    victim::arm();
    char* const kept = map(MAP_PRIVATE);
    char* const droppable = map(MAP_DROPPABLE);
    if (droppable == nullptr) {
        victim::wait_for_end();
        victim::pass();
    }
    std::memset(kept, 'k', kBytes);
    std::memset(droppable, 'd', kBytes);
    const std::string before = flags_of(droppable);
    if (before.find(" dp") == std::string::npos) victim::fail("no flag: %s", before.c_str());
    victim::wait_for_end();
    const std::string after = flags_of(droppable);
    if (after.find(" dp") == std::string::npos) victim::fail("afterwards %s", after.c_str());
    for (std::size_t i = 0; i < kBytes; ++i) {
        if (droppable[i] != 'd' && droppable[i] != '\0') victim::fail("byte %zu is torn", i);
        if (kept[i] != 'k') victim::fail("byte %zu beside it", i);
    }
    droppable[0] = 'n';
    if (in_a_child(kept) != 'k') victim::fail("a child lacks what is not droppable");
    if (in_a_child(droppable) != 0) victim::fail("a child has what was to be wiped");
    victim::pass();
}
