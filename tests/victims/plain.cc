// Memory content, a heap and a counter survive.
#include <cstring>
#include <vector>

#include "victim.h"

int main() {
    victim::arm();
    std::vector<unsigned> words(1u << 20);
    for (unsigned i = 0; i < words.size(); ++i) words[i] = i * 2654435761u;
    const pid_t pid = getpid();
    victim::wait_for_end();
    for (unsigned i = 0; i < words.size(); ++i) {
        if (words[i] != i * 2654435761u) victim::fail("word %u is %#x", i, words[i]);
    }
    if (getpid() != pid) victim::fail("pid changed from %d to %d", pid, getpid());
    victim::pass();
}
