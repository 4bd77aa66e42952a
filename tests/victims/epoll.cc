// An epoll descriptor watches what it watched, with its data and modes.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cstdint>

#include "victim.h"

namespace {
epoll_event wait_once(int epoll, int& count) {
    epoll_event event = {};
    count = epoll_wait(epoll, &event, 1, 0);
    return event;
}
}  // namespace

int main() {
    victim::arm();
    const int epoll = epoll_create1(0);
    const int level = eventfd(0, EFD_NONBLOCK);
    const int edge = eventfd(0, EFD_NONBLOCK);
    epoll_event event = {.events = EPOLLIN, .data = {.u64 = 0x1122334455667788}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, level, &event) != 0) victim::fail("epoll_ctl");
    event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 7}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, edge, &event) != 0) victim::fail("epoll_ctl");
    victim::wait_for_end();
    int count = 0;
    wait_once(epoll, count);
    if (count != 0) victim::fail("an event out of nothing");
    const std::uint64_t one = 1;
    if (write(level, &one, sizeof(one)) != 8) victim::fail("write");
    for (int i = 0; i < 2; ++i) {
        const epoll_event got = wait_once(epoll, count);
        if (count != 1 || got.data.u64 != 0x1122334455667788) victim::fail("level: %d", count);
    }
    std::uint64_t value = 0;
    if (read(level, &value, sizeof(value)) != 8) victim::fail("read");
    if (write(edge, &one, sizeof(one)) != 8) victim::fail("write");
    const epoll_event got = wait_once(epoll, count);
    if (count != 1 || got.data.u64 != 7) victim::fail("edge: %d", count);
    wait_once(epoll, count);
    if (count != 0) victim::fail("an edge told twice");
    victim::pass();
}
