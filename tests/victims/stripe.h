// A writer's part of shared memory: it knows in private memory what each page must hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "victim.h"

namespace victim {

inline constexpr std::size_t kStripePage = 4096;

struct Stripe {
    char* memory = nullptr;
    std::vector<std::uint32_t> expected;

    Stripe(char* at, std::size_t pages) : memory(at), expected(pages) {}

    // One number for each page, at another place in each.
    [[nodiscard]] volatile std::uint32_t& at(std::size_t page) const {
        return *reinterpret_cast<volatile std::uint32_t*>(memory + page * kStripePage +
                                                          page % 1000 * 4);
    }
    void set(std::size_t page, std::uint32_t value) {
        expected[page] = value;
        at(page) = value;
    }
    // Takes what is there for what must be.
    void adopt() {
        for (std::size_t page = 0; page < expected.size(); ++page) expected[page] = at(page);
    }
    void verify() const {
        for (std::size_t page = 0; page < expected.size(); ++page) {
            if (at(page) == expected[page]) continue;
            fail("process %d: page %zu has %u, not %u", getpid(), page, at(page), expected[page]);
        }
    }
    // Random pages, some at a time, until SIGTERM.
    void write_until_the_end(int at_a_time) {
        auto random = static_cast<std::uint32_t>(getpid());
        while (!ended()) {
            for (int i = 0; i < at_a_time; ++i) {
                random = random * 1664525 + 1013904223;
                const std::size_t page = (random >> 12) % expected.size();
                set(page, expected[page] + 1);
            }
            usleep(300);
        }
        verify();
    }
};

}  // namespace victim
