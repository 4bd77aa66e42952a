// Contexts of io_setup(2): events that were not read are still there, in order; the ring is where
// it was and at the place where it was, wrapped or not; a thread that waits for events gets those
// of requests made afterwards.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "victim.h"

namespace {

char g_text[] = "0123456789";
std::array<char, 16> g_buffer;

aio_context_t make(unsigned requests) {
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, requests, &context) != 0) victim::fail("io_setup: %d", errno);
    return context;
}

void submit(aio_context_t context, int fd, unsigned opcode, std::uint64_t data, long offset) {
    iocb request = {};
    request.aio_data = data;
    request.aio_lio_opcode = static_cast<std::uint16_t>(opcode);
    request.aio_fildes = static_cast<std::uint32_t>(fd);
    request.aio_buf =
        reinterpret_cast<std::uint64_t>(opcode == IOCB_CMD_PREAD ? g_buffer.data() : g_text);
    request.aio_nbytes = 4;
    request.aio_offset = offset;
    iocb* list = &request;
    if (syscall(SYS_io_submit, context, 1L, &list) != 1) victim::fail("io_submit: %d", errno);
}

void take(aio_context_t context, std::uint64_t data, const char* what) {
    io_event event = {};
    long taken = -1;
    do {
        taken = syscall(SYS_io_getevents, context, 1L, 1L, &event, nullptr);
    } while (taken < 0 && errno == EINTR);
    if (taken != 1 || event.data != data || event.res != 4) {
        victim::fail("%s: %ld, event %llu with %lld", what, taken, event.data, event.res);
    }
}

struct Position {
    unsigned id, events, head, tail;
};
Position position_of(aio_context_t context) {
    Position position;
    std::memcpy(&position, reinterpret_cast<void*>(context), sizeof(position));
    return position;
}

void expect_position(aio_context_t context, const Position& before, const char* what) {
    const Position now = position_of(context);
    if (now.events != before.events || now.head != before.head || now.tail != before.tail) {
        victim::fail("%s: %u events, %u to %u", what, now.events, now.head, now.tail);
    }
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    char path[] = "/var/tmp/ferry-aio-XXXXXX";
    const int fd = mkstemp(path);
    unlink(path);
    const aio_context_t unread = make(10), wrapped = make(700), idle = make(10);
    for (std::uint64_t i = 0; i < 5; ++i) submit(unread, fd, IOCB_CMD_PWRITE, i, long(i));
    take(unread, 0, "the first");
    const unsigned events = position_of(wrapped).events;
    for (unsigned i = 0; i < events - 2; ++i) {
        submit(wrapped, fd, IOCB_CMD_PWRITE, i, 0);
        take(wrapped, i, "before");
    }
    for (std::uint64_t i = 0; i < 5; ++i) submit(wrapped, fd, IOCB_CMD_PWRITE, i, 0);
    const Position at = position_of(unread), around = position_of(wrapped);
    if (around.tail > around.head) victim::fail("not wrapped");
    std::atomic<bool> done = false;
    std::thread waiter([&] {
        take(idle, 99, "the waiting thread");
        done = true;
    });
    victim::wait_for_end();
    expect_position(unread, at, "the unread ring");
    expect_position(wrapped, around, "the wrapped ring");
    for (std::uint64_t i = 1; i < 5; ++i) take(unread, i, "unread");
    for (std::uint64_t i = 0; i < 5; ++i) take(wrapped, i, "wrapped");
    // Every ring takes as much as before.
    for (unsigned i = 0; i < events; ++i) {
        submit(wrapped, fd, IOCB_CMD_PREAD, i, 4);
        take(wrapped, i, "afterwards");
    }
    if (std::memcmp(g_buffer.data(), "0123", 4) != 0) victim::fail("read %.4s", g_buffer.data());
    if (done) victim::fail("the waiting thread did not wait");
    submit(idle, fd, IOCB_CMD_PREAD, 99, 0);
    waiter.join();
    if (syscall(SYS_io_destroy, unread) != 0) victim::fail("io_destroy: %d", errno);
    victim::pass();
}
