// Pages that a parent and its forked child share (same page frame) stay shared; pages that one of
// them changed or dropped after the fork are different. Needs the right to see page frames (root).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "victim.h"

namespace {

constexpr std::size_t kPages = 4096, kSize = kPages * 4096;

std::uint64_t frame(pid_t pid, const char* address) {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
    const int fd = open(path, O_RDONLY);
    std::uint64_t entry = 0;
    pread(fd, &entry, 8, static_cast<off_t>(reinterpret_cast<std::uint64_t>(address) / 4096 * 8));
    close(fd);
    return (entry >> 63) != 0 ? entry & ((1ull << 55) - 1) : 0;
}

}  // namespace

int main() {
    victim::arm();
    auto* memory = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (std::size_t i = 0; i < kPages; ++i)
        std::memset(memory + i * 4096, static_cast<int>(i % 251) + 1, 4096);
    int tell[2];
    pipe(tell);
    const pid_t child = fork();
    if (child == 0) {
        std::memset(memory, 0xee, 100 * 4096);                    // its own
        madvise(memory + 100 * 4096, 100 * 4096, MADV_DONTNEED);  // gone
        char byte = 'r';
        write(tell[1], &byte, 1);
        while (!victim::ended()) pause();
        for (std::size_t i = 0; i < kPages; ++i) {
            const int expected = i < 100 ? 0xee : i < 200 ? 0 : static_cast<int>(i % 251) + 1;
            if (static_cast<unsigned char>(memory[i * 4096 + 5]) != expected) _exit(2);
        }
        _exit(0);
    }
    char byte = 0;
    read(tell[0], &byte, 1);
    std::memset(memory + 200 * 4096, 0xdd, 100 * 4096);  // the parent's own
    victim::wait_for_end();
    std::size_t shared = 0;
    for (std::size_t i = 300; i < kPages; ++i) {
        const std::uint64_t ours = frame(getpid(), memory + i * 4096);
        if (ours != 0 && ours == frame(child, memory + i * 4096)) ++shared;
    }
    kill(child, SIGTERM);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("the child ended with %#x", status);
    for (std::size_t i = 0; i < kPages; ++i) {
        const int expected = i >= 200 && i < 300 ? 0xdd : static_cast<int>(i % 251) + 1;
        if (static_cast<unsigned char>(memory[i * 4096 + 7]) != expected)
            victim::fail("page %zu", i);
    }
    if (shared < kPages - 300) victim::fail("%zu of %zu pages are shared", shared, kPages - 300);
    victim::pass();
}
