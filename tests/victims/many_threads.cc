// Three hundred threads keep their ids, their thread-local memory and their alternate stacks, and
// can be woken and joined.
#include <pthread.h>
#include <sys/syscall.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

constexpr int kThreads = 300;
thread_local long t_value = 0;
std::mutex g_mutex;
std::condition_variable g_changed;
bool g_go = false;
std::atomic<int> g_waiting{0}, g_bad{0};

void live(int index) {
    const long tid = syscall(SYS_gettid);
    t_value = tid * 1000 + index;
    std::vector<char> stack(64 << 10);
    stack_t alternate = {.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
    sigaltstack(&alternate, nullptr);
    {
        std::unique_lock lock(g_mutex);
        ++g_waiting;
        g_changed.wait(lock, [] { return g_go; });
    }
    stack_t now = {};
    sigaltstack(nullptr, &now);
    const bool good = syscall(SYS_gettid) == tid && t_value == tid * 1000 + index &&
                      now.ss_sp == stack.data() && now.ss_size == stack.size();
    if (!good) ++g_bad;
    alternate.ss_flags = SS_DISABLE;
    sigaltstack(&alternate, nullptr);
}

}  // namespace

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(live, i);
    while (g_waiting < kThreads) usleep(1000);
    victim::wait_for_end();
    {
        const std::lock_guard lock(g_mutex);
        g_go = true;
    }
    g_changed.notify_all();
    for (std::thread& thread : threads) thread.join();
    if (g_bad != 0) victim::fail("%d threads changed", g_bad.load());
    victim::pass();
}
