// A process that writes to random pages all the time keeps every write: each page holds how often
// it was written, and a second copy of that count, kept by another thread's heap, agrees at the
// end.
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

constexpr std::size_t kPages = 16384;
constexpr std::size_t kWordsPerPage = 4096 / sizeof(std::uint64_t);

std::uint64_t next_random(std::uint64_t& state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

}  // namespace

int main() {
    victim::arm();
    auto memory = std::make_unique<std::uint64_t[]>(kPages * kWordsPerPage);
    std::vector<std::uint64_t> counts(kPages);
    std::atomic<std::uint64_t> beats{0};
    std::thread heart([&beats] {
        while (!victim::ended()) {
            beats.fetch_add(1, std::memory_order_relaxed);
            usleep(100);
        }
    });
    std::uint64_t state = 88172645463325252ull;
    victim::ready();
    while (!victim::ended()) {
        for (int i = 0; i < 64; ++i) {
            const std::size_t page = next_random(state) % kPages;
            const std::size_t word = next_random(state) % kWordsPerPage;
            ++counts[page];
            memory[page * kWordsPerPage + word] += 1;
        }
        usleep(500);
    }
    heart.join();
    for (std::size_t page = 0; page < kPages; ++page) {
        std::uint64_t sum = 0;
        for (std::size_t word = 0; word < kWordsPerPage; ++word) {
            sum += memory[page * kWordsPerPage + word];
        }
        if (sum != counts[page]) {
            victim::fail("page %zu holds %llu writes of %llu", page,
                         static_cast<unsigned long long>(sum),
                         static_cast<unsigned long long>(counts[page]));
        }
    }
    if (beats.load() == 0) victim::fail("the second thread never ran");
    victim::pass();
}
