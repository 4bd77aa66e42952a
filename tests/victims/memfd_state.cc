// What a memfd has beside its content: a name (or none), a size that is no multiple of the page, a
// mode, seals; and open files of it with positions of their own.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "victim.h"

namespace {

constexpr unsigned kSeals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;

void check(bool good, const char* what) {
    if (!good) victim::fail("%s", what);
}

std::string path_of(int fd) {
    return "/proc/self/fd/" + std::to_string(fd);
}

std::string link_of(int fd) {
    char target[64] = {};
    const ssize_t n = readlink(path_of(fd).c_str(), target, 63);
    return {target, n > 0 ? static_cast<std::size_t>(n) : 0};
}

}  // namespace

int main() {
    victim::arm();
    const int odd = memfd_create("", 0);
    check(pwrite(odd, "end", 3, 4997) == 3, "pwrite");
    fchmod(odd, 0640);
    const int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    check(write(sealed, "content", 7) == 7, "write");
    check(fcntl(sealed, F_ADD_SEALS, kSeals) == 0, "seals");
    const int again = open(path_of(sealed).c_str(), O_RDONLY);
    const int twin = dup(again);
    lseek(again, 3, SEEK_SET);
    void* mapped = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, sealed, 0);
    check(mapped != MAP_FAILED, "mmap");
    victim::wait_for_end();

    struct stat info = {};
    char text[8] = {};
    check(fstat(odd, &info) == 0 && info.st_size == 5000, "the size");
    check((info.st_mode & 07777) == 0640, "the mode");
    check(pread(odd, text, 8, 4997) == 3 && std::strcmp(text, "end") == 0, "the last bytes");
    check(link_of(odd) == "/memfd: (deleted)", "the empty name");
    check(fcntl(odd, F_GET_SEALS) == F_SEAL_SEAL, "what may not be sealed");
    check(fcntl(sealed, F_GET_SEALS) == static_cast<int>(kSeals), "the seals");
    check(lseek(sealed, 0, SEEK_CUR) == 7 && lseek(twin, 0, SEEK_CUR) == 3, "the positions");
    check(read(again, text, 8) == 4 && std::memcmp(text, "tent", 4) == 0, "the sealed content");
    check(lseek(twin, 0, SEEK_CUR) == 7, "two descriptors of one open file");
    check(std::memcmp(mapped, "content", 7) == 0, "the sealed mapping");
    check(write(sealed, "x", 1) < 0 && link_of(sealed) == "/memfd:sealed (deleted)", "the seal");
    victim::pass();
}
