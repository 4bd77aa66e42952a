// Threads that run on small stacks beside each other and beside other data, as those of goroutines
// and fibers are: nobody finds its memory overwritten, not even for a moment, and each thread has
// its own alternate stack afterwards.
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <mutex>

#include "victim.h"

namespace {

constexpr std::size_t kBytes = 8 << 10;  // of a stack
constexpr std::size_t kLeft = 4 << 10;   // of it, when its thread sleeps
constexpr int kThreads = 8;
char* g_memory = nullptr;  // the checker's data, then the stacks
std::atomic<int> g_asleep{0}, g_bad{0};
std::mutex g_end;  // locked until then

// Counts in what lies below the first stack.
void* count(void*) {
    auto* words = reinterpret_cast<volatile unsigned*>(g_memory);
    for (unsigned round = 1; !victim::ended(); ++round) {
        for (std::size_t i = 0; i < kBytes / sizeof(*words); ++i) words[i] = round;
        for (std::size_t i = 0; i < kBytes / sizeof(*words); ++i) g_bad += words[i] != round;
    }
    return nullptr;
}

void sleep_deep() {
    char here = 0;
    const auto index = static_cast<std::size_t>(&here - g_memory) / kBytes - 1;
    volatile char used[kBytes - kLeft - 2048];
    for (volatile char& c : used) c = static_cast<char>(index + 1);
    ++g_asleep;
    sigset_t none;
    sigemptyset(&none);
    while (index == 0 && !victim::ended()) sigsuspend(&none);
    if (index == 0) g_end.unlock();
    const std::lock_guard wait(g_end);
    for (const volatile char& c : used) g_bad += c != static_cast<char>(index + 1);
}

void* live(void* at) {
    const auto index = reinterpret_cast<std::size_t>(at);
    static std::array<std::array<char, 32 << 10>, kThreads> alternates;
    auto& own = alternates[index];
    stack_t alternate = {.ss_sp = own.data(), .ss_flags = 0, .ss_size = own.size()};
    sigaltstack(&alternate, nullptr);
    ucontext_t back = {}, deep = {};
    getcontext(&deep);
    deep.uc_stack.ss_sp = g_memory + (index + 1) * kBytes;
    deep.uc_stack.ss_size = kBytes;
    deep.uc_link = &back;
    makecontext(&deep, sleep_deep, 0);
    swapcontext(&back, &deep);
    stack_t now = {};
    sigaltstack(nullptr, &now);
    g_bad += now.ss_sp != own.data() || now.ss_size != own.size();
    return nullptr;
}

}  // namespace

int main() {
    victim::arm();
    g_end.lock();
    victim::leave_signal_to_main();
    g_memory = static_cast<char*>(mmap(nullptr, kBytes * (kThreads + 2), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::array<pthread_t, kThreads> threads = {};
    pthread_create(threads.data(), nullptr, count, nullptr);
    for (std::size_t i = 1; i < kThreads; ++i) {
        pthread_create(&threads[i], nullptr, live, reinterpret_cast<void*>(i));
    }
    while (g_asleep < kThreads - 1) usleep(1000);
    victim::ready();
    live(nullptr);
    for (const pthread_t thread : threads) pthread_join(thread, nullptr);
    if (g_bad != 0) victim::fail("%d words or threads are not as they were", g_bad.load());
    victim::pass();
}
