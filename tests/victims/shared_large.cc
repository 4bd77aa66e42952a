// A large object of shared anonymous memory, so that its pages are looked at only where they may
// have been written. Two processes write a page now and then, a third empties its page table at
// once after it has written (MADV_DONTNEED), throws pages away and reads them again (MADV_REMOVE),
// and moves its mapping (mremap). Nobody is forked or ends meanwhile.
#include <sys/mman.h>
#include <sys/wait.h>

#include "stripe.h"

namespace {

using victim::Stripe;

constexpr std::size_t kPages = 5000, kStripes = 3, kBytes = kPages * victim::kStripePage;

pid_t start(Stripe& stripe) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    stripe.write_until_the_end(1);
    _exit(0);
}

void disturb(Stripe& stripe, std::uint32_t number) {
    const std::size_t page = number * 7 % kPages;
    stripe.set(page, number);
    madvise(stripe.memory + page * victim::kStripePage, victim::kStripePage, MADV_DONTNEED);
    const std::size_t gone = number * 11 % kPages;
    madvise(stripe.memory + gone * victim::kStripePage, victim::kStripePage, MADV_REMOVE);
    stripe.expected[gone] = 0;
    if (stripe.at(gone) != 0) victim::fail("page %zu is not empty", gone);
    if (number % 1000 != 0) return;
    void* const place = reinterpret_cast<void*>(0x200000000000 + number % 2000 * kBytes);
    void* moved = mremap(stripe.memory, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    if (moved == MAP_FAILED) victim::fail("mremap");
    stripe.memory = static_cast<char*>(moved);
}

}  // namespace

int main() {
    victim::arm();
    auto* memory = static_cast<char*>(mmap(nullptr, kStripes * kBytes, PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::vector<Stripe> stripes;
    for (std::size_t i = 0; i < kStripes; ++i) {
        Stripe& stripe = stripes.emplace_back(memory + i * kBytes, kPages);
        for (std::size_t page = 0; page < kPages; ++page)
            stripe.set(page, static_cast<std::uint32_t>(1000000 + page));
    }
    const pid_t first = start(stripes[1]);
    const pid_t second = start(stripes[2]);
    victim::ready();
    for (std::uint32_t number = 1; !victim::ended(); ++number) {
        disturb(stripes[0], number);
        usleep(2000);
    }
    for (const pid_t child : {first, second}) {
        kill(child, SIGTERM);
        int status = 0;
        while (waitpid(child, &status, 0) < 0) {
        }
        if (status != 0) victim::fail("a child ended with %#x", status);
    }
    stripes[0].verify();
    victim::pass();
}
