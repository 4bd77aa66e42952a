// Shared anonymous memory: a parent and two children map one object, one child a part of it at
// another address. The content stays, pages that only an ended process touched too, and it is still
// shared. A mapping of /dev/zero is such an object, too.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>

#include "victim.h"

namespace {

constexpr std::size_t kPage = 4096, kPages = 2048, kSize = kPages * kPage;
// The moving child keeps what begins here.
constexpr std::size_t kPart = 1024 * kPage;

using Counter = std::atomic<std::uint64_t>;

Counter& counter(char* memory, std::size_t offset) {
    return *reinterpret_cast<Counter*>(memory + offset);
}

// Adds to the counter at `offset` of its mapping until it is told to end.
[[noreturn]] void count(char* memory, std::size_t offset) {
    while (!victim::ended()) {
        ++counter(memory, offset);
        usleep(1000);
    }
    counter(memory, offset + 8) = 77;
    _exit(0);
}

void await_growth(Counter& of) {
    const std::uint64_t before = of;
    for (int i = 0; i < 2000 && of == before; ++i) usleep(1000);
    if (of == before) victim::fail("a child's counter stands at %lu", before);
}

void wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("a child ended with %#x", status);
}

pid_t start(void (*child)(char*), char* memory) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    child(memory);
    _exit(9);
}

void touch_half(char* memory) {
    for (std::size_t i = 16; i < kPages; i += 2) memory[i * kPage + 9] = static_cast<char>(i % 251);
    _exit(0);
}

void count_in_place(char* memory) {
    count(memory, kPart);
}

void count_elsewhere(char* memory) {
    void* moved = mremap(memory + kPart, kSize - kPart, kSize - kPart,
                         MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(0x200000000000));
    if (moved == MAP_FAILED) _exit(3);
    munmap(memory, kPart);
    count(static_cast<char*>(moved), kPage);
}

}  // namespace

int main() {
    victim::arm();
    auto* memory = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const int zero = open("/dev/zero", O_RDWR);
    auto* other =
        static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0));
    close(zero);
    other[5] = 55;
    wait_for(start(touch_half, memory));
    const pid_t a = start(count_in_place, memory);
    const pid_t b = start(count_elsewhere, memory);
    Counter& of_a = counter(memory, kPart);
    Counter& of_b = counter(memory, kPart + kPage);
    await_growth(of_a);
    await_growth(of_b);
    victim::wait_for_end();
    await_growth(of_a);
    await_growth(of_b);
    kill(a, SIGTERM);
    kill(b, SIGTERM);
    wait_for(a);
    wait_for(b);
    if (counter(memory, kPart + 8) != 77 || counter(memory, kPart + kPage + 8) != 77) {
        victim::fail("a child's last word did not arrive");
    }
    if (other[5] != 55) victim::fail("the other object");
    for (std::size_t i = 16; i < kPages; ++i) {
        const char expected = i % 2 == 0 ? static_cast<char>(i % 251) : '\0';
        if (memory[i * kPage + 9] != expected && i * kPage != kPart && i * kPage != kPart + kPage) {
            victim::fail("page %zu", i);
        }
    }
    victim::pass();
}
