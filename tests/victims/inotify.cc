// Watches keep their numbers and masks, also where some before them were removed, and report what
// happens to their files afterwards.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "victim.h"

namespace {

void touch(const std::string& path) {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1) victim::fail("%s: %d", path.c_str(), errno);
    close(fd);
}

int watch(int inotify, const std::string& path, std::uint32_t mask) {
    const int number = inotify_add_watch(inotify, path.c_str(), mask);
    if (number < 0) victim::fail("watch of %s: %d", path.c_str(), errno);
    return number;
}

void expect_event(int inotify, int number, std::uint32_t mask, const char* name) {
    alignas(inotify_event) char buffer[sizeof(inotify_event) + 256] = {};
    const ssize_t size = read(inotify, buffer, sizeof(inotify_event) + 16);
    const auto* event = reinterpret_cast<const inotify_event*>(buffer);
    const bool good = size > 0 && event->wd == number && event->mask == mask &&
                      std::strcmp(event->len > 0 ? event->name : "", name) == 0;
    if (!good) {
        victim::fail("watch %d: %zd bytes, event %#x of %d instead of %#x", number, size,
                     event->mask, event->wd, mask);
    }
}

}  // namespace

int main() {
    victim::arm();
    char directory[] = "/tmp/victim-inotify-XXXXXX";
    if (mkdtemp(directory) == nullptr) victim::fail("mkdtemp: %d", errno);
    const std::string base = directory;
    touch(base + "/file");
    mkdir((base + "/sub dir").c_str(), 0700);
    const int inotify = inotify_init1(IN_NONBLOCK);
    const int removed = watch(inotify, "/tmp", IN_DELETE_SELF);
    const int names = watch(inotify, base, IN_CREATE | IN_DELETE);
    const int content = watch(inotify, base + "/file", IN_MODIFY);
    const int once = watch(inotify, base + "/sub dir", IN_CREATE | IN_ONESHOT);
    inotify_rm_watch(inotify, removed);
    expect_event(inotify, removed, IN_IGNORED, "");
    victim::wait_for_end();
    char byte = 0;
    if (read(inotify, &byte, 1) != -1 || errno != EAGAIN) victim::fail("an event too many");
    touch(base + "/new");
    expect_event(inotify, names, IN_CREATE, "new");
    touch(base + "/file");
    expect_event(inotify, content, IN_MODIFY, "");
    touch(base + "/sub dir/a");
    expect_event(inotify, once, IN_CREATE, "a");
    expect_event(inotify, once, IN_IGNORED, "");
    unlink((base + "/new").c_str());
    expect_event(inotify, names, IN_DELETE, "new");
    if (watch(inotify, "/tmp", IN_DELETE_SELF) <= once) victim::fail("a number is used again");
    if (std::system(("rm -r '" + base + "'").c_str()) != 0) victim::fail("rm");
    victim::pass();
}
