// Registrations for membarrier(2): who has one may go on to use it, with a thread beside.
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "victim.h"

namespace {

int barrier(int command) {
    return static_cast<int>(syscall(SYS_membarrier, command, 0, 0));
}

void expect(int command, int error) {
    const int result = barrier(command);
    if ((result == 0 ? 0 : errno) != error) {
        victim::fail("membarrier(%#x) gives %d: %s", command, result, std::strerror(errno));
    }
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    std::thread other([] {
        while (!victim::ended()) usleep(1000);
    });
    expect(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0);
    expect(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0);
    victim::wait_for_end();
    expect(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
    expect(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, EPERM);
    other.join();
    victim::pass();
}
