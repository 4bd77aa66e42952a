// Descriptors in flight (SCM_RIGHTS, not received) are what they were, and come when they did.
#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>

#include "victim.h"

namespace {

struct Ends {
    explicit Ends(int type) {
        int ends[2];
        if (socketpair(AF_UNIX, type, 0, ends) != 0) victim::fail("socketpair");
        first = ends[0], second = ends[1];
    }
    int first = -1, second = -1;
};
// With one part and room for one descriptor.
struct Message {
    explicit Message(void* text, std::size_t size) : part{text, size} {
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof(control);
    }
    iovec part;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header = {};
};
void send(int via, std::string_view text, int fd) {
    Message message(const_cast<char*>(text.data()), text.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&message.header);
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
    if (sendmsg(via, &message.header, 0) < 0) victim::fail("sendmsg");
}
// -1: no descriptor came with it.
int receive(int via, std::string_view wanted) {
    char text[16] = {};
    Message message(text, wanted.size());
    if (recvmsg(via, &message.header, MSG_DONTWAIT) < 0) victim::fail("%s is lost", wanted.data());
    if (text != wanted) victim::fail("%s in the place of %s", text, wanted.data());
    const cmsghdr* rights = CMSG_FIRSTHDR(&message.header);
    int fd = -1;
    if (rights != nullptr) std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    return fd;
}
void expect_way(int from, int to, const char* what) {
    char got = 0;
    if (write(from, "x", 1) != 1 || read(to, &got, 1) != 1) victim::fail("%s leads nowhere", what);
}

}  // namespace

int main() {
    victim::arm();
    const Ends stream(SOCK_STREAM), datagrams(SOCK_DGRAM), inner(SOCK_STREAM);
    int ends[2];
    if (pipe(ends) != 0 || write(stream.first, "before", 6) != 6) victim::fail("write");
    send(stream.first, "with", ends[0]);
    if (write(stream.first, "after", 5) != 5) victim::fail("write");
    const int kept = open("/dev/null", O_RDONLY);
    send(datagrams.first, "kept", kept);
    // A socket in flight, to which the other end of the pipe is in flight; nobody else has either.
    send(inner.first, "deep", ends[1]);
    send(datagrams.first, "sock", inner.second);
    for (const int fd : {ends[0], ends[1], inner.second}) close(fd);
    victim::wait_for_end();
    if (receive(stream.second, "before") >= 0) victim::fail("it came too soon");
    const int reader = receive(stream.second, "with");
    if (receive(stream.second, "after") >= 0) victim::fail("it came twice");
    if (fcntl(receive(datagrams.second, "kept"), F_SETFL, O_NONBLOCK) != 0 ||
        (fcntl(kept, F_GETFL) & O_NONBLOCK) == 0) {
        victim::fail("two open files of one");
    }
    const int socket = receive(datagrams.second, "sock");
    expect_way(receive(socket, "deep"), reader, "the pipe");
    expect_way(inner.first, socket, "the socket");
    victim::pass();
}
