// What is set once per thread or process and hardly ever looked at: I/O priority, timer slack, the
// policy for fork, what a core dump has, a subreaper's role, securebits.
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <fstream>
#include <string>
#include <thread>

#include "victim.h"

namespace {

constexpr int kWhoProcess = 1, kIdleClass = 3 << 13, kBestEffort = 2 << 13 | 6;

void expect(const char* what, long value, long expected) {
    if (value != expected) victim::fail("%s is %ld, not %ld", what, value, expected);
}

struct Settings {
    int io_priority;
    unsigned long slack;
    void apply() const {
        syscall(SYS_ioprio_set, kWhoProcess, 0, io_priority);
        prctl(PR_SET_TIMERSLACK, slack);
    }
    void check(const char* who) const {
        expect(who, syscall(SYS_ioprio_get, kWhoProcess, 0), io_priority);
        expect("timer slack", prctl(PR_GET_TIMERSLACK), static_cast<long>(slack));
    }
};

std::string core_filter() {
    std::string text;
    std::ifstream("/proc/self/coredump_filter") >> text;
    return text;
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    constexpr Settings kMain = {kBestEffort, 1'000'000};
    constexpr Settings kOther = {kIdleClass, 77'000};
    kMain.apply();
    std::thread other([&] {
        kOther.apply();
        while (!victim::ended()) usleep(1000);
        kOther.check("the thread's io priority");
    });
    std::ofstream("/proc/self/coredump_filter") << "0x7";
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_SECUREBITS, SECBIT_NOROOT);
    const sched_param none = {};
    sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &none);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    usleep(10'000);
    victim::wait_for_end();
    other.join();
    kMain.check("the io priority");
    expect("the core filter", std::stol(core_filter(), nullptr, 16), 7);
    int subreaper = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    expect("subreaper", subreaper, 1);
    expect("securebits", prctl(PR_GET_SECUREBITS), SECBIT_NOROOT);
    expect("policy", sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK);
    expect("no huge pages", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    victim::pass();
}
