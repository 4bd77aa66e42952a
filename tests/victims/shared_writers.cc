// Shared anonymous memory that is written all the time: by children that live long, one of which is
// replaced again and again; by children that live shortly; through page tables that are emptied at
// once (MADV_DONTNEED); with pages that are thrown away and read again (MADV_REMOVE). Each writer
// knows in private memory what it must find.
#include <sys/mman.h>
#include <sys/wait.h>

#include <array>
#include <cstdint>

#include "victim.h"

namespace {

constexpr std::size_t kPage = 4096, kStripePages = 512, kStripes = 4;
constexpr std::size_t kStripe = kStripePages * kPage;

// One writer's part of the object.
struct Stripe {
    char* memory;
    std::array<std::uint32_t, kStripePages> expected{};

    volatile std::uint32_t& at(std::size_t page) const {
        return *reinterpret_cast<volatile std::uint32_t*>(memory + page * kPage + page % 1000 * 4);
    }
    void verify() const {
        for (std::size_t page = 0; page < kStripePages; ++page) {
            if (at(page) == expected[page]) continue;
            victim::fail("process %d: page %zu has %u, not %u", getpid(), page, at(page),
                         expected[page]);
        }
    }
};

[[noreturn]] void write_until_the_end(Stripe stripe) {
    for (std::size_t page = 0; page < kStripePages; ++page) stripe.expected[page] = stripe.at(page);
    std::uint32_t random = static_cast<std::uint32_t>(getpid());
    while (!victim::ended()) {
        for (int i = 0; i < 16; ++i) {
            random = random * 1664525 + 1013904223;
            const std::size_t page = (random >> 12) % kStripePages;
            stripe.at(page) = ++stripe.expected[page];
        }
        usleep(300);
    }
    stripe.verify();
    _exit(0);
}

pid_t start(const Stripe& stripe) {
    const pid_t pid = fork();
    if (pid == 0) write_until_the_end(stripe);
    return pid;
}

void wait_for(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("a child ended with %#x", status);
}

void end(pid_t child) {
    kill(child, SIGTERM);
    wait_for(child);
}

void write_in_a_short_life(Stripe& stripe, std::uint32_t number) {
    const std::size_t page = number * 7 % kStripePages;
    const pid_t child = fork();
    if (child == 0) {
        stripe.at(page) = number;
        _exit(0);
    }
    wait_for(child);
    stripe.expected[page] = number;
    if (number % 4 == 0) madvise(stripe.memory, kStripe, MADV_DONTNEED);
    if (number % 8 != 0) return;
    const std::size_t gone = number * 3 % kStripePages;
    madvise(stripe.memory + gone * kPage, kPage, MADV_REMOVE);
    stripe.expected[gone] = 0;
    if (stripe.at(gone) != 0) victim::fail("page %zu is not empty", gone);
}

}  // namespace

int main() {
    victim::arm();
    auto* memory = static_cast<char*>(mmap(nullptr, kStripes * kStripe, PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::array<Stripe, kStripes> stripes;
    for (std::size_t i = 0; i < kStripes; ++i) stripes[i].memory = memory + i * kStripe;
    std::array<pid_t, kStripes> children{};
    for (std::size_t i = 1; i < kStripes; ++i) children[i] = start(stripes[i]);
    victim::ready();
    for (std::uint32_t number = 1; !victim::ended(); ++number) {
        write_in_a_short_life(stripes[0], number);
        if (number % 20 == 0) {
            end(children[1]);
            children[1] = start(stripes[1]);
        }
        usleep(15000);
    }
    for (std::size_t i = 1; i < kStripes; ++i) end(children[i]);
    stripes[0].verify();
    victim::pass();
}
