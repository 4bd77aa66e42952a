// What is in a pipe stays in it, in order, with the pipe's capacity and the flags of its ends.
#include <fcntl.h>

#include <string>

#include "victim.h"

int main() {
    victim::arm();
    int ends[2];
    if (pipe(ends) != 0) victim::fail("pipe");
    constexpr int kCapacity = 1 << 18;
    if (fcntl(ends[1], F_SETPIPE_SZ, kCapacity) != kCapacity) victim::fail("F_SETPIPE_SZ");
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += std::to_string(i) + ' ';
    if (write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        victim::fail("write");
    }
    const int flags[] = {fcntl(ends[0], F_GETFL), fcntl(ends[1], F_GETFL)};
    victim::wait_for_end();
    for (int i = 0; i < 2; ++i) {
        const int now = fcntl(ends[i], F_GETFL);
        if (now != flags[i]) victim::fail("end %d has flags %#x, not %#x", i, now, flags[i]);
    }
    if (fcntl(ends[0], F_GETPIPE_SZ) != kCapacity) victim::fail("another capacity");
    close(ends[1]);
    std::string got(text.size() + 1, '\0');
    std::size_t used = 0;
    ssize_t n = 0;
    while ((n = read(ends[0], got.data() + used, got.size() - used)) > 0) {
        used += static_cast<std::size_t>(n);
    }
    got.resize(used);
    if (got != text) victim::fail("%zu of %zu bytes, or others", used, text.size());
    victim::pass();
}
