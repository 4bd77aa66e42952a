// Reads with O_DIRECT that the disk serves while no thread waits in a system call: always some are
// under way, every one of them ends, and each buffer holds what was read into it last.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "victim.h"

namespace {

constexpr std::size_t kBlock = 1 << 20, kBlocks = 7, kBuffers = 64, kDepth = 16;
using Block = std::array<std::uint64_t, kBlock / sizeof(std::uint64_t)>;

char g_path[] = "/var/tmp/ferry-aio-reads-XXXXXX";

int file_of_blocks() {
    const int fd = mkostemp(g_path, O_DIRECT);
    auto* block = static_cast<Block*>(std::aligned_alloc(4096, kBlock));
    for (std::size_t i = 0; i < kBlocks; ++i) {
        block->fill(i);
        if (pwrite(fd, block, kBlock, static_cast<off_t>(i * kBlock)) != kBlock) {
            victim::fail("write");
        }
    }
    return fd;
}

struct Reader {
    int fd = -1;
    aio_context_t context = 0;
    Block* buffers = nullptr;
    std::array<std::uint64_t, kBuffers> content = {};
    std::array<iocb, kBuffers> requests = {};
    std::size_t next = 0, under_way = 0;

    void submit() {
        const std::size_t at = next++ % kBuffers;
        content[at] = next % kBlocks;
        iocb& request = requests[at] = {};
        request.aio_lio_opcode = IOCB_CMD_PREAD;
        request.aio_fildes = static_cast<std::uint32_t>(fd);
        request.aio_buf = reinterpret_cast<std::uint64_t>(&buffers[at]);
        request.aio_nbytes = kBlock;
        request.aio_offset = static_cast<std::int64_t>(content[at] * kBlock);
        iocb* list = &request;
        if (syscall(SYS_io_submit, context, 1L, &list) != 1) victim::fail("io_submit: %d", errno);
        ++under_way;
    }
    void take() {
        io_event event = {};
        const timespec enough = {.tv_sec = 20, .tv_nsec = 0};
        const long taken = syscall(SYS_io_getevents, context, 1L, 1L, &event, &enough);
        if (taken < 0 && errno == EINTR) return;
        if (taken != 1) victim::fail("%zu requests do not end", under_way);
        if (event.res != kBlock) victim::fail("read %lld bytes", event.res);
        --under_way;
    }
};

}  // namespace

int main() {
    victim::arm();
    static Reader reader;
    reader.fd = file_of_blocks();
    reader.buffers = static_cast<Block*>(std::aligned_alloc(4096, kBlock * kBuffers));
    std::memset(static_cast<void*>(reader.buffers), 0, kBlock * kBuffers);
    if (syscall(SYS_io_setup, 64U, &reader.context) != 0) victim::fail("io_setup: %d", errno);
    victim::ready();
    // In bursts: a buffer must not be filled again before the end of the move.
    while (!victim::ended()) {
        while (reader.under_way < kDepth) reader.submit();
        while (reader.under_way > 0) reader.take();
        usleep(20'000);
    }
    unlink(g_path);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < kBuffers; ++i) {
        for (const std::uint64_t word : reader.buffers[i]) {
            if (word == reader.content[i] || i >= reader.next) continue;
            ++wrong;
            break;
        }
    }
    if (wrong != 0) victim::fail("%zu buffers", wrong);
    victim::pass();
}
