// A thread that the next message of a POSIX queue is to start (SIGEV_THREAD): what Ferry refuses.
#include <mqueue.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {
volatile sig_atomic_t g_told = 0;
}

int main() {
    victim::arm();
    const mqd_t queue = mq_open("/victim", O_CREAT | O_RDWR, 0600, nullptr);
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD;
    event.sigev_notify_function = [](sigval) { g_told = 1; };
    if (mq_notify(queue, &event) != 0) victim::fail("mq_notify: %s", std::strerror(errno));
    victim::wait_for_end();
    if (g_told != 0) victim::fail("told of a message that did not come");
    mq_unlink("/victim");
    victim::pass();
}
