// Memory that the disk writes into by itself (O_DIRECT), from several threads without a pause: each
// buffer holds what was read into it last.
#include <fcntl.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

constexpr std::size_t kBlock = 16 << 10, kBlocks = 60, kBuffers = 2048, kThreads = 4;
using Block = std::array<std::uint64_t, kBlock / sizeof(std::uint64_t)>;

int file_of_blocks() {
    char path[] = "/var/tmp/ferry-direct-XXXXXX";
    const int fd = mkostemp(path, O_DIRECT);
    auto* block = static_cast<Block*>(std::aligned_alloc(4096, kBlock));
    for (std::size_t i = 0; i < kBlocks; ++i) {
        block->fill(i);
        if (pwrite(fd, block, kBlock, static_cast<off_t>(i * kBlock)) != kBlock) {
            victim::fail("write");
        }
    }
    unlink(path);
    return fd;
}

struct Reader {
    Block* buffers = nullptr;
    std::array<std::uint64_t, kBuffers> content = {};
    std::uint64_t random = 1;
    std::uint64_t next() { return (random = random * 6364136223846793005 + 1) >> 33; }
    void read(int fd) {
        const std::uint64_t buffer = next() % kBuffers, block = next() % kBlocks;
        content[buffer] = block;
        if (pread(fd, &buffers[buffer], kBlock, static_cast<off_t>(block * kBlock)) != kBlock) {
            victim::fail("read");
        }
    }
};

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    const int fd = file_of_blocks();
    std::vector<Reader> readers(kThreads);
    std::atomic<bool> stop = false;
    std::vector<std::thread> threads;
    for (Reader& reader : readers) {
        reader.random = static_cast<std::uint64_t>(&reader - readers.data()) + 1;
        reader.buffers = static_cast<Block*>(std::aligned_alloc(4096, kBlock * kBuffers));
        std::memset(static_cast<void*>(reader.buffers), 0, kBlock * kBuffers);
        threads.emplace_back([&] {
            while (!stop) reader.read(fd);
        });
    }
    victim::wait_for_end();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    std::size_t wrong = 0;
    for (const Reader& reader : readers) {
        for (std::size_t i = 0; i < kBuffers; ++i) {
            for (const std::uint64_t word : reader.buffers[i]) {
                if (word == reader.content[i]) continue;
                ++wrong;
                break;
            }
        }
    }
    if (wrong != 0) victim::fail("%zu buffers", wrong);
    victim::pass();
}
