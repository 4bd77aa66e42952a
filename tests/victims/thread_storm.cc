// Fifty threads end and are replaced all the time; the sum of their work stays right.
#include <atomic>
#include <thread>
#include <vector>

#include "victim.h"

int main() {
    victim::arm();
    victim::leave_signal_to_main();
    std::atomic<unsigned long> started{0}, finished{0};
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, nullptr);  // SIGTERM is for the main thread.
    std::vector<std::thread> makers;
    for (int i = 0; i < 50; ++i) {
        makers.emplace_back([&] {
            while (!victim::ended()) {
                ++started;
                std::thread([&] { ++finished; }).join();
            }
        });
    }
    pthread_sigmask(SIG_UNBLOCK, &end, nullptr);
    victim::wait_for_end();
    for (std::thread& maker : makers) maker.join();
    if (started != finished) victim::fail("%lu threads of %lu", finished.load(), started.load());
    victim::pass();
}
