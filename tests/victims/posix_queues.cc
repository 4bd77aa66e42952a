// POSIX message queues: messages with their priorities in their order, limits and mode stay;
// descriptors share their flags; one that was unlinked lives on; a receiver that sleeps gets what
// comes, and who wants to be told of it is.
#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

constexpr unsigned kHighest = 32767;

volatile sig_atomic_t g_told = 0;

mqd_t make(const char* name, int flags, long messages, long bytes) {
    mq_attr limits = {};
    limits.mq_maxmsg = messages;
    limits.mq_msgsize = bytes;
    const mqd_t queue = mq_open(name, flags | O_CREAT | O_EXCL, 0600, &limits);
    if (queue < 0) victim::fail("mq_open(%s): %s", name, std::strerror(errno));
    return queue;
}

void send(mqd_t queue, const char* text, unsigned priority) {
    if (mq_send(queue, text, std::strlen(text), priority) != 0) {
        victim::fail("mq_send(%s): %s", text, std::strerror(errno));
    }
}

void expect(mqd_t queue, const char* text, unsigned priority) {
    char got[8192] = {};
    unsigned of = 0;
    const ssize_t size = mq_receive(queue, got, sizeof(got), &of);
    if (size != static_cast<ssize_t>(std::strlen(text)) || of != priority ||
        std::strcmp(got, text) != 0) {
        victim::fail("\"%s\" (%zd) of %u, not \"%s\" of %u", got, size, of, text, priority);
    }
}

}  // namespace

int main() {
    victim::arm();
    signal(SIGUSR1, [](int) { g_told = 1; });
    const mqd_t gone = make("/victim", O_RDWR | O_NONBLOCK, 2, 32);
    send(gone, "left", 1);
    mq_unlink("/victim");
    const mqd_t queue = make("/victim", O_RDWR | O_NONBLOCK, 4, 8192);
    const int same = dup(queue);
    send(queue, "second", 5);
    send(queue, "third", 5);
    send(queue, "first", kHighest);
    send(queue, "", 0);
    if (fchmod(queue, 0620) != 0) victim::fail("fchmod: %s", std::strerror(errno));
    const mqd_t empty = make("/victim-empty", O_RDONLY | O_NONBLOCK, 1, 16);
    sigevent event = {};
    event.sigev_signo = SIGUSR1;
    if (mq_notify(empty, &event) != 0) victim::fail("mq_notify: %s", std::strerror(errno));
    const mqd_t slow = make("/victim-slow", O_RDWR, 1, 16);
    const pid_t child = fork();
    if (child == 0) {
        char text[16] = {};
        while (mq_receive(slow, text, sizeof(text), nullptr) < 0) {
            if (errno != EINTR) _exit(1);
        }
        _exit(std::strcmp(text, "late") == 0 ? 0 : 2);
    }
    victim::wait_for_end();

    struct stat status = {};
    mq_attr attributes = {};
    mq_getattr(queue, &attributes);
    if (fstat(mq_open("/victim", O_WRONLY), &status) != 0 || (status.st_mode & 0777) != 0620 ||
        attributes.mq_maxmsg != 4 || attributes.mq_msgsize != 8192 ||
        attributes.mq_flags != O_NONBLOCK) {
        victim::fail("mode %o, %ld messages of %ld, flags %#lx", status.st_mode,
                     attributes.mq_maxmsg, attributes.mq_msgsize, attributes.mq_flags);
    }
    expect(queue, "first", kHighest);
    expect(same, "second", 5);
    expect(queue, "third", 5);
    expect(queue, "", 0);
    attributes.mq_flags = 0;
    mq_setattr(same, &attributes, nullptr);
    if (mq_getattr(queue, &attributes) != 0 || attributes.mq_flags != 0) victim::fail("the flags");
    expect(gone, "left", 1);
    if (g_told != 0) victim::fail("told of a message that did not come");
    send(mq_open("/victim-empty", O_WRONLY), "news", 0);
    if (g_told == 0) victim::fail("not told");
    send(slow, "late", 0);
    int result = 0;
    if (waitpid(child, &result, 0) != child || result != 0) victim::fail("the child: %#x", result);
    victim::pass();
}
