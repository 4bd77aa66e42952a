// Shared anonymous memory that is written all the time: by children that live long, one of which is
// replaced again and again; by children that live shortly; through page tables that are emptied at
// once (MADV_DONTNEED); with pages that are thrown away and read again (MADV_REMOVE).
#include <sys/mman.h>
#include <sys/wait.h>

#include "stripe.h"

namespace {

using victim::Stripe;

constexpr std::size_t kPages = 1024, kStripes = 4, kBytes = kPages * victim::kStripePage;

pid_t start(Stripe& stripe) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    stripe.adopt();
    stripe.write_until_the_end(16);
    _exit(0);
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
    const std::size_t page = number * 7 % kPages;
    const pid_t child = fork();
    if (child == 0) {
        stripe.at(page) = number;
        _exit(0);
    }
    wait_for(child);
    stripe.expected[page] = number;
    if (number % 4 == 0) madvise(stripe.memory, kBytes, MADV_DONTNEED);
    if (number % 8 != 0) return;
    const std::size_t gone = number * 3 % kPages;
    madvise(stripe.memory + gone * victim::kStripePage, victim::kStripePage, MADV_REMOVE);
    stripe.expected[gone] = 0;
    if (stripe.at(gone) != 0) victim::fail("page %zu is not empty", gone);
}

}  // namespace

int main() {
    victim::arm();
    auto* memory = static_cast<char*>(mmap(nullptr, kStripes * kBytes, PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::vector<Stripe> stripes;
    for (std::size_t i = 0; i < kStripes; ++i) {
        Stripe& stripe = stripes.emplace_back(memory + i * kBytes, kPages);
        for (std::uint32_t page = 0; page < kPages; ++page) stripe.set(page, page);
    }
    std::vector<pid_t> children(kStripes);
    for (std::size_t i = 1; i < kStripes; ++i) children[i] = start(stripes[i]);
    victim::ready();
    for (std::uint32_t number = 1; !victim::ended(); ++number) {
        write_in_a_short_life(stripes[0], number);
        if (number % 40 == 0) {
            end(children[1]);
            children[1] = start(stripes[1]);
        }
        usleep(30000);
    }
    for (std::size_t i = 1; i < kStripes; ++i) end(children[i]);
    stripes[0].verify();
    victim::pass();
}
