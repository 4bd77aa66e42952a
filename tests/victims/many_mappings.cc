// Twenty thousand mappings with three protections, and names on some, keep their places and
// content.
#include <sys/mman.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstring>

#include "victim.h"

namespace {

constexpr int kMappings = 20'000;
constexpr std::size_t kPage = 4096;
constexpr int kProtections[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};

// Lines of our maps within the block.
int count_lines(const char* start, const char* end) {
    std::FILE* maps = std::fopen("/proc/self/maps", "re");
    char line[512];
    int lines = 0;
    while (std::fgets(line, sizeof(line), maps) != nullptr) {
        unsigned long from = 0;
        if (std::sscanf(line, "%lx-", &from) != 1) continue;
        if (from >= reinterpret_cast<unsigned long>(start) &&
            from < reinterpret_cast<unsigned long>(end)) {
            ++lines;
        }
    }
    std::fclose(maps);
    return lines;
}

}  // namespace

int main() {
    victim::arm();
    auto* block = static_cast<char*>(mmap(nullptr, kMappings * kPage, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (int i = 0; i < kMappings; ++i) {
        char* page = block + static_cast<std::size_t>(i) * kPage;
        if (i % 2 == 0) std::memcpy(page, &i, sizeof(i));
        if (i % 100 == 0) prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, page, kPage, "hundredth");
        mprotect(page, kPage, kProtections[i % 3]);
    }
    const int lines = count_lines(block, block + kMappings * kPage);
    victim::wait_for_end();
    const int now = count_lines(block, block + kMappings * kPage);
    if (now != lines) victim::fail("%d mappings were %d", now, lines);
    for (int i = 0; i < kMappings; ++i) {
        char* page = block + static_cast<std::size_t>(i) * kPage;
        if (i % 3 == 2) mprotect(page, kPage, PROT_READ);
        int content = 0;
        std::memcpy(&content, page, sizeof(content));
        if (content != (i % 2 == 0 ? i : 0)) victim::fail("mapping %d holds %d", i, content);
        if (i % 3 == 0) page[8] = 1;
    }
    victim::pass();
}
