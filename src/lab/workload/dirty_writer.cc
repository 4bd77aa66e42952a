// A service that writes its memory at a given rate, page after page, round and round: MIB mebibytes
// at MIB_PER_SECOND. It answers datagrams to IP, port 7, and at SIGTERM it looks whether every page
// holds what it wrote there last, and writes PASS or FAIL with the reason to RESULT.
//
//   ferry-dirty-writer MIB MIB_PER_SECOND IP RESULT
//
// It is the only program of its container. With a rate of 0 it writes each page once, at the start.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

constexpr std::size_t kPageBytes = 4096, kPagesPerMib = 256, kWordsPerPage = 512;
// A writer that was kept from writing catches up by no more than this.
constexpr std::chrono::milliseconds kTick{2}, kCatchUpMax{10};

std::atomic<bool> ended{false};

int open_echo(const char* ip) {
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in own = {};
    own.sin_family = AF_INET;
    own.sin_port = htons(7);
    if (::inet_pton(AF_INET, ip, &own.sin_addr) != 1 ||
        ::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
        return -1;
    }
    return fd;
}

void echo(int fd) {
    // So that the end is noticed without a datagram.
    const timeval patience = {.tv_sec = 0, .tv_usec = 100'000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::array<char, 2048> datagram;
    while (!ended) {
        sockaddr_in peer;
        socklen_t bytes = sizeof peer;
        const ssize_t got = ::recvfrom(fd, datagram.data(), datagram.size(), 0,
                                       reinterpret_cast<sockaddr*>(&peer), &bytes);
        if (got < 0) continue;
        static_cast<void>(::sendto(fd, datagram.data(), static_cast<std::size_t>(got), 0,
                                   reinterpret_cast<const sockaddr*>(&peer), bytes));
    }
}

// How many pages were written altogether: page p holds the number of the last write to it.
std::uint64_t write_pages(std::uint64_t* memory, std::size_t pages, double pages_per_second) {
    using Clock = std::chrono::steady_clock;
    std::uint64_t written = 0;
    double due = 0;
    Clock::time_point before = Clock::now();
    while (!ended) {
        std::this_thread::sleep_for(kTick);
        const Clock::time_point now = Clock::now();
        due += pages_per_second *
               std::chrono::duration<double>(std::min<Clock::duration>(now - before, kCatchUpMax))
                   .count();
        before = now;
        for (; due >= 1; --due) {
            memory[(written % pages) * kWordsPerPage] = written + 1;
            ++written;
        }
    }
    return written;
}

bool is_whole(const std::uint64_t* memory, std::size_t pages, std::uint64_t written) {
    for (std::uint64_t page = 0; page < pages; ++page) {
        const std::uint64_t rounds = written / pages + (page < written % pages ? 1 : 0);
        const std::uint64_t expected = rounds == 0 ? 0 : (rounds - 1) * pages + page + 1;
        if (memory[page * kWordsPerPage] != expected) return false;
    }
    return true;
}

// Pages of zeros do not cross, and others are compressed on a slow link.
void fill_with_noise(std::uint64_t* words, std::size_t count) {
    std::uint64_t state = 88172645463325252ull;  // xorshift64
    for (std::size_t i = 0; i < count; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = i % kWordsPerPage == 0 ? 0 : state;
    }
}

[[noreturn]] void serve(int socket, std::uint64_t* memory, std::size_t pages, double rate,
                        const char* result) {
    struct sigaction action = {};
    action.sa_handler = [](int) { ended = true; };
    ::sigaction(SIGTERM, &action, nullptr);
    std::thread answering(echo, socket);
    const std::uint64_t written = write_pages(memory, pages, rate);
    answering.join();
    const std::string verdict = is_whole(memory, pages, written) && (written > 0 || rate == 0)
                                    ? "PASS\n"
                                    : "FAIL: a page does not hold what was written there\n";
    std::FILE* const file = std::fopen(result, "we");
    const bool told =
        file != nullptr && std::fputs(verdict.c_str(), file) >= 0 && std::fclose(file) == 0;
    ::_exit(told ? 0 : 1);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const std::size_t pages = std::strtoul(argv[1], nullptr, 10) * kPagesPerMib;
    const double rate = std::strtod(argv[2], nullptr) * kPagesPerMib;
    const int socket = open_echo(argv[3]);
    void* memory = ::mmap(nullptr, pages * kPageBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == 0 || socket < 0 || memory == MAP_FAILED) {
        std::perror("ferry-dirty-writer");
        return 1;
    }
    auto* const words = static_cast<std::uint64_t*>(memory);
    fill_with_noise(words, pages * kWordsPerPage);
    serve(socket, words, pages, rate, argv[4]);
}
