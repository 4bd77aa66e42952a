// Rounding modes and control words of both floating-point units survive, in each thread its own.
#include <atomic>
#include <cfenv>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

std::atomic<bool> g_go{false};
std::atomic<int> g_set{0}, g_bad{0};

unsigned mxcsr() {
    unsigned value = 0;
    asm volatile("stmxcsr %0" : "=m"(value));
    return value;
}
unsigned short control_word() {
    unsigned short value = 0;
    asm volatile("fnstcw %0" : "=m"(value));
    return value;
}

void live(int mode) {
    std::fesetround(mode);
    const unsigned sse = mxcsr();
    const unsigned short x87 = control_word();
    long double pi = 0;
    asm volatile("fldpi");  // stays on the x87 stack meanwhile
    ++g_set;
    while (!g_go) usleep(1000);
    asm volatile("fstpt %0" : "=m"(pi));
    if (std::fegetround() != mode || mxcsr() != sse || control_word() != x87 || pi < 3.14L) ++g_bad;
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    std::vector<std::thread> threads;
    for (const int mode : {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}) {
        threads.emplace_back(live, mode);
    }
    while (g_set < 4) usleep(1000);
    victim::wait_for_end();
    g_go = true;
    for (std::thread& thread : threads) thread.join();
    if (g_bad != 0) victim::fail("%d threads changed", g_bad.load());
    victim::pass();
}
