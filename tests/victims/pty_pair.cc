// A terminal without a session: size, modes, owner, lock, packet and exclusive mode stay, both ends
// talk, a master is one open file however often it is duplicated. A second pair has no slave open.
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

int make(char* name, std::size_t size) {
    const int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || unlockpt(master) != 0 || ptsname_r(master, name, size) != 0) {
        victim::fail("a terminal: %s", strerror(errno));
    }
    return master;
}

short events_of(int fd, int timeout_ms) {
    pollfd polled = {fd, POLLIN, 0};
    poll(&polled, 1, timeout_ms);
    return polled.revents;
}

}  // namespace

int main() {
    victim::arm();
    char name[64], other_name[64], fresh_name[64];
    const int master = make(name, sizeof(name));
    const int same = dup(master);
    const int slave = open(name, O_RDWR | O_NOCTTY);
    const int other = make(other_name, sizeof(other_name));
    close(open(other_name, O_RDWR | O_NOCTTY));  // hangs it up
    const int fresh = make(fresh_name, sizeof(fresh_name));
    termios modes = {};
    tcgetattr(slave, &modes);
    modes.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    modes.c_oflag |= OLCUC;
    modes.c_cc[VINTR] = 7;
    cfsetspeed(&modes, B9600);
    winsize size = {33, 101, 5, 6};
    const int on = 1;
    if (tcsetattr(slave, TCSANOW, &modes) != 0 || ioctl(slave, TIOCSWINSZ, &size) != 0 ||
        fchown(slave, 3, 4) != 0 || fchmod(slave, 0604) != 0 || ioctl(slave, TIOCEXCL) != 0 ||
        ioctl(master, TIOCPKT, &on) != 0 || ioctl(master, TIOCSPTLCK, &on) != 0) {
        victim::fail("setting it up: %s", strerror(errno));
    }
    char text[16] = {};
    while (read(master, text, sizeof(text)) > 0) {  // what packet mode says about the above
    }
    victim::wait_for_end();

    int packets = 0, locked = 0, exclusive = 0;
    struct stat status = {};
    termios now = {};
    winsize now_size = {};
    if (fstat(slave, &status) != 0 || status.st_uid != 3 || status.st_gid != 4 ||
        (status.st_mode & 0777) != 0604) {
        victim::fail("owner %u:%u, mode %o", status.st_uid, status.st_gid, status.st_mode);
    }
    ioctl(master, TIOCGPKT, &packets);
    ioctl(master, TIOCGPTLCK, &locked);
    ioctl(slave, TIOCGEXCL, &exclusive);
    ioctl(slave, TIOCGWINSZ, &now_size);
    tcgetattr(slave, &now);
    if (packets != 1 || locked != 1 || exclusive != 1 ||
        std::memcmp(&size, &now_size, sizeof(size)) != 0 || now.c_lflag != modes.c_lflag ||
        now.c_oflag != modes.c_oflag || now.c_cc[VINTR] != 7 || cfgetospeed(&now) != B9600) {
        victim::fail("packets %d, locked %d, exclusive %d, %ux%u, modes %x %x", packets, locked,
                     exclusive, now_size.ws_row, now_size.ws_col, now.c_lflag, now.c_oflag);
    }
    if (write(slave, "abc", 3) != 3 || write(same, "xyz", 3) != 3) victim::fail("write");
    constexpr int kPatienceMs = 10'000;
    if (events_of(same, kPatienceMs) != POLLIN || read(same, text, sizeof(text)) != 4 ||
        std::memcmp(text, "\0ABC", 4) != 0 || events_of(slave, kPatienceMs) != POLLIN ||
        read(slave, text, sizeof(text)) != 3 || std::memcmp(text, "xyz", 3) != 0) {
        victim::fail("what the other end says: %s", text);
    }
    if ((events_of(other, 0) & POLLHUP) == 0 || (events_of(fresh, 0) & POLLHUP) != 0) {
        victim::fail("who is hung up: %d %d", events_of(other, 0), events_of(fresh, 0));
    }
    victim::pass();
}
