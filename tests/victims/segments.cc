// System V shared memory: a segment that three processes have attached is still shared, as often as
// before, one attached in part and one for reading only among them; one that was removed lives on;
// one that nobody has attached keeps its content; id, key, size, owner and mode stay.
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "victim.h"

namespace {

constexpr key_t kKey = 0x5e60, kOtherKey = 0x5e61;
constexpr std::size_t kPage = 4096, kPages = 4096;  // more than is compared as a whole
constexpr std::size_t kBytes = kPages * kPage - 100;

using Counter = std::atomic<std::uint64_t>;

int make(key_t key, std::size_t bytes) {
    const int id = shmget(key, bytes, IPC_CREAT | IPC_EXCL | 0640);
    if (id < 0) victim::fail("shmget: %s", std::strerror(errno));
    return id;
}

char* attach(int id, int flags = 0) {
    void* memory = shmat(id, nullptr, flags);
    if (reinterpret_cast<std::intptr_t>(memory) == -1) {
        victim::fail("shmat: %s", std::strerror(errno));
    }
    return static_cast<char*>(memory);
}

shmid_ds state_of(int id) {
    shmid_ds state = {};
    if (shmctl(id, IPC_STAT, &state) != 0) victim::fail("IPC_STAT: %s", std::strerror(errno));
    return state;
}

// Counts in one page and writes all over the memory, and keeps of it the upper half only.
[[noreturn]] void write_all_over(char* memory) {
    munmap(memory, kPages / 2 * kPage);
    auto& counter = *reinterpret_cast<Counter*>(memory + kPages / 2 * kPage);
    for (std::uint64_t n = 1; !victim::ended(); ++n) {
        ++counter;
        const std::size_t page = kPages / 2 + 1 + n * 7 % (kPages / 2 - 1);
        std::memcpy(memory + page * kPage, &n, sizeof(n));
        usleep(500);
    }
    _exit(0);
}

[[noreturn]] void read_only(int id, const Counter* counter) {
    const char* memory = attach(id, SHM_RDONLY);
    while (!victim::ended()) usleep(1000);
    const auto* same = reinterpret_cast<const Counter*>(memory + kPages / 2 * kPage);
    const std::uint64_t seen = *same;
    const bool refused = mprotect(const_cast<char*>(memory), kPage, PROT_WRITE) != 0;
    _exit(refused && *counter >= seen && seen > 0 && memory[5] == 5 ? 0 : 1);
}

void await(const Counter& counter, std::uint64_t from) {
    for (int i = 0; i < 5000 && counter <= from; ++i) usleep(1000);
    if (counter <= from) victim::fail("the counter stands at %lu", from);
}

void expect_end(pid_t child) {
    int status = -1;
    kill(child, SIGTERM);
    while (waitpid(child, &status, 0) < 0) {
    }
    if (status != 0) victim::fail("a child ended with %#x", status);
}

}  // namespace

int main() {
    victim::arm();
    shmctl(make(IPC_PRIVATE, 1), IPC_RMID, nullptr);
    const int id = make(kKey, kBytes);
    char* memory = attach(id);
    for (std::size_t i = 0; i < kPages; i += 2)
        memory[i * kPage + 5] = static_cast<char>(i % 97 + 5);
    auto& counter = *reinterpret_cast<Counter*>(memory + kPages / 2 * kPage);
    counter = 0;
    const pid_t writer = fork();
    if (writer == 0) write_all_over(memory);
    const pid_t reader = fork();
    if (reader == 0) read_only(id, &counter);
    const int lonely = make(kOtherKey, 3 * kPage);
    char* passing = attach(lonely);
    std::strcpy(passing + 2 * kPage, "nobody is here");
    shmdt(passing);
    const int removed = make(IPC_PRIVATE, kPage);
    char* kept = attach(removed);
    std::strcpy(kept, "kept");
    shmctl(removed, SHM_LOCK, nullptr);
    shmctl(removed, IPC_RMID, nullptr);
    await(counter, 3);
    shmid_ds before = state_of(id);
    for (int i = 0; i < 2000 && before.shm_nattch != 4; ++i) {  // the reader has two
        usleep(1000);
        before = state_of(id);
    }
    victim::wait_for_end();

    const shmid_ds after = state_of(id);
    if (after.shm_nattch != before.shm_nattch || after.shm_segsz != kBytes ||
        after.shm_perm.mode != before.shm_perm.mode || shmget(kKey, kBytes, 0) != id) {
        victim::fail("attached %lu times, %zu bytes, mode %o", after.shm_nattch, after.shm_segsz,
                     after.shm_perm.mode);
    }
    await(counter, counter);
    expect_end(writer);
    expect_end(reader);
    if (state_of(id).shm_nattch != 1) victim::fail("attached %lu times", state_of(id).shm_nattch);
    for (std::size_t i = 0; i < kPages; ++i) {
        const char wanted = i % 2 == 0 ? static_cast<char>(i % 97 + 5) : '\0';
        if (i != kPages / 2 && memory[i * kPage + 5] != wanted && i < kPages / 2) {
            victim::fail("page %zu", i);
        }
    }
    passing = attach(shmget(kOtherKey, 0, 0));
    if (std::strcmp(passing + 2 * kPage, "nobody is here") != 0) victim::fail("the lonely one");
    const unsigned marks = state_of(removed).shm_perm.mode & (SHM_DEST | SHM_LOCKED);
    if (std::strcmp(kept, "kept") != 0 || marks != (SHM_DEST | SHM_LOCKED)) {
        victim::fail("the removed one: \"%s\", %o", kept, marks);
    }
    if (shmdt(kept) != 0 || shmdt(memory) != 0) victim::fail("shmdt: %s", std::strerror(errno));
    shmid_ds gone = {};
    if (shmctl(removed, IPC_STAT, &gone) == 0) victim::fail("the removed one is still there");
    victim::pass();
}
