// Root of a user namespace: what it has made is its own and can be used again by its name, who is
// at the other end of a socket has a user id that it knows, and memory stays locked.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "victim.h"

namespace {

constexpr std::size_t kLocked = 4u << 20;

std::string text_of(const char* path) {
    char text[4096] = {};
    const int file = open(path, O_RDONLY);
    if (file < 0 || read(file, text, sizeof(text) - 1) < 0) victim::fail("%s: %d", path, errno);
    close(file);
    return text;
}

std::string locked() {
    const std::string status = text_of("/proc/self/status");
    const std::size_t at = status.find("VmLck:");
    return status.substr(at, status.find('\n', at) - at);
}

void expect_own(const char* what, int fd) {
    struct stat status = {};
    if (fstat(fd, &status) != 0 || status.st_uid != 0 || status.st_gid != 0) {
        victim::fail("%s belongs to %u:%u", what, status.st_uid, status.st_gid);
    }
}

}  // namespace

int main() {
    victim::arm();
    int pipes[2], pair[2];
    pipe(pipes);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    sockaddr_un name = {};
    name.sun_family = AF_UNIX;
    std::snprintf(name.sun_path, sizeof(name.sun_path), "/tmp/victim-users-%d", getpid());
    const int bound = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (bind(bound, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
        victim::fail("bind: %d", errno);
    }
    const int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    void* memory =
        mmap(nullptr, kLocked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mlock(memory, kLocked) != 0) victim::fail("mlock: %d", errno);
    const std::string users = text_of("/proc/self/uid_map"), was_locked = locked();
    victim::wait_for_end();
    if (text_of("/proc/self/uid_map") != users) victim::fail("the ids of the namespace");
    if (locked() != was_locked) victim::fail("%s", locked().c_str());
    expect_own("the pipe", pipes[0]);
    expect_own("the socket", pair[0]);
    expect_own("the nameless file", file);
    const int again = open(("/proc/self/fd/" + std::to_string(pipes[1])).c_str(), O_WRONLY);
    if (again < 0 || write(again, "x", 1) != 1) victim::fail("the pipe again: %d", errno);
    struct stat status = {};
    if (stat(name.sun_path, &status) != 0 || status.st_uid != 0 ||
        chmod(name.sun_path, 0600) != 0) {
        victim::fail("the socket's name: %d, of %u", errno, status.st_uid);
    }
    ucred peer = {};
    socklen_t size = sizeof(peer);
    getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size);
    if (peer.uid != 0 || peer.gid != 0) victim::fail("the peer is %u:%u", peer.uid, peer.gid);
    if (write(file, "x", 1) != 1) victim::fail("write: %d", errno);
    victim::pass();
}
