// Whoever connects to a Unix socket sees who listens (SO_PEERCRED): the process and its user, also
// one that has given up its rights, before or after it began to listen.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "victim.h"

namespace {

constexpr uid_t kUser = 1234;
constexpr gid_t kGroup = 4321;

sockaddr_un address_of(const char* name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/ferry-listeners-%d-%s",
                  getpgid(0), name);
    return address;
}

void listen_on(const char* name) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const sockaddr_un address = address_of(name);
    umask(0);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(fd, 5) != 0) {
        victim::fail("listen: %d", errno);
    }
}

void become_user() {
    if (setresgid(kGroup, kGroup, kGroup) != 0 || setresuid(kUser, kUser, kUser) != 0) {
        victim::fail("setresuid: %d", errno);
    }
}

pid_t start(const char* name, bool drop_first, int tell) {
    const pid_t child = fork();
    if (child != 0) return child;
    if (drop_first) become_user();
    listen_on(name);
    if (!drop_first) become_user();
    write(tell, "r", 1);
    while (!victim::ended()) pause();
    _exit(0);
}

void expect_owner(const char* name, pid_t pid, uid_t user, gid_t group) {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const sockaddr_un address = address_of(name);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("%s: connect: %d", name, errno);
    }
    ucred owner = {};
    socklen_t size = sizeof(owner);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &size);
    if (owner.pid != pid || owner.uid != user || owner.gid != group) {
        victim::fail("%s: process %d, user %u, group %u", name, owner.pid, owner.uid, owner.gid);
    }
    close(fd);
    unlink(address.sun_path);
}

}  // namespace

int main() {
    victim::arm();
    setpgid(0, 0);
    int ready[2];
    pipe(ready);
    listen_on("own");
    const pid_t user = start("user", true, ready[1]), dropped = start("dropped", false, ready[1]);
    for (int i = 0; i < 2; ++i) {
        char byte = 0;
        read(ready[0], &byte, 1);
    }
    victim::wait_for_end();
    expect_owner("own", getpid(), 0, 0);
    expect_owner("user", user, kUser, kGroup);
    expect_owner("dropped", dropped, 0, 0);
    kill(user, SIGTERM);
    kill(dropped, SIGTERM);
    waitpid(user, nullptr, 0);
    waitpid(dropped, nullptr, 0);
    victim::pass();
}
