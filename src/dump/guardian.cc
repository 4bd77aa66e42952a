#include "dump/guardian.h"

#include <fmt/format.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"
#include "base/limits.h"

namespace ferry::dump {
namespace {

// One word per registered descriptor, so that the guardian never sees half of an entry:
// 0 is empty, otherwise (fd + 1) << 1 | reuse_address.
using Slot = std::atomic<std::uint64_t>;
static_assert(Slot::is_always_lock_free);

// Processes of one tree that can be condemned.
constexpr std::size_t kTasksMax = 1u << 15;

struct Table {
    pthread_mutex_t alive;                   // held by the thread that traces, while it lives
    std::atomic<Guardian::Verdict> verdict;  // valid with the tasks below
    std::atomic<std::uint32_t> task_count;
    std::atomic<int> pidfds[kTasksMax];
    std::atomic<std::uint32_t> used;  // slots from the start that may be taken
    std::atomic<bool> clean_end;
    char decision[PATH_MAX];  // a path; written before the verdict that needs it
    Slot slots[limits::kFilesMax];
};

Table& table_in(const os::Mapping& memory) {
    return *reinterpret_cast<Table*>(memory.data());
}

int descriptor_of(std::uint64_t word) {
    return static_cast<int>(word >> 1) - 1;
}

void enter_repair(std::uint64_t word) noexcept {
    const int on = 1;
    ::setsockopt(descriptor_of(word), IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
}

void end_repair(std::uint64_t word) noexcept {
    const int fd = descriptor_of(word);
    int in_repair = 0;
    socklen_t size = sizeof(in_repair);
    ::getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &in_repair, &size);
    if (in_repair == 0) return;
    const int reuse_address = static_cast<int>(word & 1);
    const int off = 0;  // with a window probe: the peer may have waited
    ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off));
    // Ending repair resets SO_REUSEADDR, which repair mode had forced.
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse_address, sizeof(reuse_address));
}

// Looks at the pidfd now and then: who tampers with our memory must not make the guardian eternal.
void await_end(int parent, Table& table) noexcept {
    constexpr time_t kSecondsBetweenLooks = 2;
    for (;;) {
        timespec until = {};
        ::clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += kSecondsBetweenLooks;
        if (::pthread_mutex_clocklock(&table.alive, CLOCK_MONOTONIC, &until) != ETIMEDOUT) return;
        pollfd waiting = {.fd = parent, .events = POLLIN, .revents = 0};
        if (::poll(&waiting, 1, 0) > 0) return;
    }
}

template <typename Action>
void for_each_socket(Table& table, Action action) noexcept {
    for (std::uint32_t i = 0; i < table.used.load(); ++i) {
        if (const std::uint64_t word = table.slots[i].load(); word != 0) action(word);
    }
}

// Whether that is what was decided, or is now, since we are the first to make the decision.
bool is_aborted(const char* decision) noexcept {
    constexpr char kAbort[] = "abort";
    ::symlink(kAbort, decision);
    char said[sizeof(kAbort)] = {};
    const ssize_t size = ::readlink(decision, said, sizeof(said));
    return size == sizeof(kAbort) - 1 && std::memcmp(said, kAbort, sizeof(kAbort) - 1) == 0;
}

void signal_all(Table& table, int signal) noexcept {
    for (std::uint32_t i = 0; i < table.task_count.load(); ++i) {
        ::syscall(SYS_pidfd_send_signal, table.pidfds[i].load(), signal, nullptr, 0);
    }
}

// The guardian's whole life (I7). Nothing allocated, no lock but the one it waits for.
[[noreturn]] void guard(int parent, Table& table, os::MessageCustody& custody) noexcept {
    ::setsid();
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    // Before whoever was let go by our end, and before what remains of that end.
    const sched_param priority = {.sched_priority = ::sched_get_priority_max(SCHED_FIFO)};
    ::sched_setscheduler(0, SCHED_FIFO, &priority);  // not everybody may
    await_end(parent, table);
    if (!table.clean_end.load()) custody.put_back();
    if (!table.clean_end.load() && table.verdict.load() == Guardian::Verdict::Kill) {
        // They stand in SIGSTOP (Frozen::hold).
        for_each_socket(table, enter_repair);
        signal_all(table, SIGKILL);
    } else if (!table.clean_end.load()) {
        for_each_socket(table, end_repair);
        const bool is_asked = table.verdict.load() == Guardian::Verdict::AsDecided;
        if (is_asked && is_aborted(table.decision)) signal_all(table, SIGCONT);
    }
    ::_exit(0);
}

Result<> hold_alive(pthread_mutex_t& alive) {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int code = ::pthread_mutex_init(&alive, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
    if (code == 0) code = ::pthread_mutex_lock(&alive);
    if (code != 0) return fail(Error::system(code, "a robust mutex"));
    return {};
}

}  // namespace

Result<std::unique_ptr<Guardian>> Guardian::start() {
    std::unique_ptr<Guardian> guardian(new Guardian(TRY(os::MessageCustody::create())));
    // Untouched pages cost nothing: the table may be large.
    guardian->memory_ = TRY(os::Mapping::map(sizeof(Table), PROT_READ | PROT_WRITE,
                                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE));
    const os::PidFd self = TRY(os::PidFd::open(Pid{::getpid()}));
    // A copy that the shared table keeps for the guardian after `self` is closed here.
    os::UniqueFd parent = TRY(os::dup(self.get()));
    TRY(hold_alive(table_in(guardian->memory_).alive));
    // fork() with a shared descriptor table: no new stack, since the memory is not shared.
    const long pid = ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, 0L);
    if (pid == 0) {
        guard(parent.get(), table_in(guardian->memory_), guardian->custody_);
    }
    if (pid < 0) {
        const int code = errno;
        ::pthread_mutex_unlock(&table_in(guardian->memory_).alive);
        return fail(Error::system(code, "clone(CLONE_FILES)"));
    }
    guardian->pid_ = static_cast<pid_t>(pid);
    guardian->parent_ = std::move(parent);
    return guardian;
}

Guardian::~Guardian() {
    if (pid_ == 0) return;
    table_in(memory_).clean_end.store(true);
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    // The kernel's list of what this thread holds must not lead into memory that is gone.
    CHECK(::pthread_mutex_unlock(&table_in(memory_).alive) == 0);
}

Result<> Guardian::decide(Verdict verdict, std::span<const int> pidfds) {
    if (pidfds.size() > kTasksMax) return fail(Error::limit("the tree has too many processes"));
    Table& table = table_in(memory_);
    // At no moment does a verdict hold for processes that it was not passed on.
    table.verdict.store(Verdict::LetRun);
    for (std::size_t i = 0; i < pidfds.size(); ++i) table.pidfds[i].store(pidfds[i]);
    table.task_count.store(static_cast<std::uint32_t>(pidfds.size()));
    table.verdict.store(verdict);
    return {};
}

Result<> Guardian::decide_as(const std::string& decision, std::span<const int> pidfds) {
    Table& table = table_in(memory_);
    if (decision.size() >= sizeof(table.decision)) {
        return fail(Error::limit(fmt::format("{}: too long a path", decision)));
    }
    std::memcpy(table.decision, decision.c_str(), decision.size() + 1);
    return decide(Verdict::AsDecided, pidfds);
}

void Guardian::add(int fd, bool reuse_address) {
    CHECK(fd >= 0);
    Table& table = table_in(memory_);
    const std::uint64_t word =
        (static_cast<std::uint64_t>(fd) + 1) << 1 | (reuse_address ? 1u : 0u);
    const std::uint32_t used = table.used.load();
    CHECK(used < limits::kFilesMax);
    table.slots[used].store(word);
    table.used.store(used + 1);
}

void Guardian::remove(int fd) {
    Table& table = table_in(memory_);
    const std::span<Slot> taken(table.slots, table.used.load());
    // Usually the last one added, or all in turn from the end.
    const auto found = std::find_if(taken.rbegin(), taken.rend(), [fd](const Slot& slot) {
        return static_cast<int>(slot.load() >> 1) - 1 == fd;
    });
    if (found != taken.rend()) found->store(0);
    while (table.used.load() > 0 && table.slots[table.used.load() - 1].load() == 0) {
        table.used.fetch_sub(1);
    }
}

}  // namespace ferry::dump
