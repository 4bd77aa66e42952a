// Unix sockets that were bound to a name relative to a directory, or renamed since, are reached
// where they stand, and keep the names that they were bound to.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "victim.h"

namespace {

sockaddr_un address_of(const std::string& name) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
}

int bind_to(const std::string& name, int type) {
    const int fd = socket(AF_UNIX, type, 0);
    const sockaddr_un address = address_of(name);
    if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
        (type == SOCK_STREAM && listen(fd, 5) != 0)) {
        victim::fail("bind %s: %d", name.c_str(), errno);
    }
    return fd;
}

int connect_to(const std::string& name, int type) {
    const int fd = socket(AF_UNIX, type, 0);
    const sockaddr_un address = address_of(name);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        victim::fail("connect %s: %d", name.c_str(), errno);
    }
    return fd;
}

void expect_talk(int from, int to) {
    char got[3] = {};
    if (write(from, "hi", 2) != 2 || read(to, got, 2) != 2 || std::strcmp(got, "hi") != 0) {
        victim::fail("talk: %d", errno);
    }
}

void expect_name(int fd, const std::string& name) {
    sockaddr_un address = {};
    socklen_t size = sizeof(address);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    if (name != address.sun_path) victim::fail("%s is called %s", name.c_str(), address.sun_path);
}

}  // namespace

int main() {
    victim::arm();
    char path[] = "/tmp/victim-names-XXXXXX";
    if (mkdtemp(path) == nullptr || chdir(path) != 0) victim::fail("set-up: %d", errno);
    const std::string directory = path, ready = directory + "/ready", own = directory + "/own";
    mkdir("sub", 0755);
    const int relative = bind_to("sub/relative", SOCK_STREAM);
    const int client = connect_to("sub/relative", SOCK_STREAM);
    const int accepted = accept4(relative, nullptr, nullptr, SOCK_CLOEXEC);
    const int renamed = bind_to(own, SOCK_STREAM);
    rename(own.c_str(), ready.c_str());
    const int datagrams = bind_to("datagrams", SOCK_DGRAM);
    const int sender = connect_to(directory + "/datagrams", SOCK_DGRAM);
    victim::wait_for_end();
    expect_talk(client, accepted);
    expect_talk(sender, datagrams);
    expect_name(accepted, "sub/relative");
    expect_name(renamed, own);
    expect_name(datagrams, "datagrams");
    const int again = connect_to(ready, SOCK_STREAM);
    expect_talk(again, accept4(renamed, nullptr, nullptr, SOCK_CLOEXEC));
    const int once_more = connect_to("sub/relative", SOCK_STREAM);
    expect_talk(once_more, accept4(relative, nullptr, nullptr, SOCK_CLOEXEC));
    if (access(own.c_str(), F_OK) == 0) victim::fail("%s is there", own.c_str());
    for (const char* name : {"sub/relative", "sub", "ready", "datagrams"}) std::remove(name);
    rmdir(path);
    victim::pass();
}
