#include "dump/source_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include "base/log.h"
#include "os/description.h"
#include "os/userfault.h"
#include "resources/aio.h"
#include "resources/file_lock.h"
#include "resources/process_state.h"
#include "resources/seccomp.h"
#include "resources/semaphore_set.h"
#include "resources/terminal.h"
#include "resources/thread_state.h"
#include "trace/questions.h"
#include "trace/tracee.h"

namespace ferry::dump {
namespace {

using Clock = std::chrono::steady_clock;

// Where kernel.sem says how many operations one semop(2) may have (SEMOPM).
constexpr std::size_t kOperationsMax = 2;

std::chrono::microseconds since(Clock::time_point begun) {
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begun);
}

// Makes the descriptor in the stopped thread's process, takes a duplicate, and closes the original.
Result<os::UniqueFd> borrow_userfaultfd(Pid pid, trace::RemoteCalls& calls) {
    const os::PidFd process = TRY(os::PidFd::open(pid));
    const long remote = TRY(calls.call(SYS_userfaultfd, {std::uint64_t{os::kUserfaultFlags}}));
    auto ours = process.getfd(static_cast<int>(remote));
    TRY(calls.call(SYS_close, {static_cast<std::uint64_t>(remote)}));
    return ours;
}

}  // namespace

void set_ids(const proc::Stat& stat, model::Process& process) {
    process.pid = stat.pid;
    process.group = stat.group;
    process.session = stat.session;
    process.terminal = resources::terminal_of_device(static_cast<std::uint32_t>(stat.tty));
    process.is_zombie = stat.is_zombie();
    process.exit_status = process.is_zombie ? stat.exit_code : 0;
}

SourceProcess::SourceProcess(Pid pid, std::unique_ptr<proc::ProcessDirectory> directory,
                             const Home& home)
    : pid_(pid), directory_(std::move(directory)), layout_(pid, *directory_, home.has_own_ipc) {}

Result<SourceProcess> SourceProcess::open(Pid pid, const Home& home, const SourceProcess* parent) {
    auto directory =
        std::make_unique<proc::ProcessDirectory>(TRY(proc::ProcessDirectory::open(pid)));
    SourceProcess process(pid, std::move(directory), home);
    const proc::Stat stat = TRY(process.directory_->stat());
    process.start_time_ = stat.start_time;
    process.start_stack_ = stat.start_stack;
    TRY(check_process(pid, *process.directory_, home));
    TRY(process.layout_.refresh());
    process.is_fresh_ = true;
    process.gadgets_ =
        TRY(trace::find_gadgets(pid, parent == nullptr ? arch::Gadgets{} : parent->gadgets_));
    return process;
}

bool SourceProcess::is_still(const proc::Stat& stat) const {
    return stat.start_time == start_time_ && stat.start_stack == start_stack_;
}

Result<model::Process> SourceProcess::outline(const proc::Stat& stat,
                                              resources::FileCollector& files) {
    model::Process process;
    set_ids(stat, process);
    for (const Tid tid : TRY(directory_->threads())) {
        model::Thread thread;
        thread.tid = tid;
        // The leader first, whatever its id.
        if (tid == leader_of(pid_)) {
            process.threads.insert(process.threads.begin(), std::move(thread));
        } else {
            process.threads.push_back(std::move(thread));
        }
    }
    if (!std::exchange(is_fresh_, false)) TRY(layout_.refresh());
    process.address_space = TRY(layout_.address_space(files));
    TRY(check_aio(process.address_space,
                  [this](const auto& work) { return borrow_some_thread(work); }));
    process.working_directory =
        TRY(files.add_path(fmt::format("/proc/{}/cwd", pid_), O_RDONLY | O_DIRECTORY));
    process.root_directory =
        TRY(files.add_path(fmt::format("/proc/{}/root", pid_), O_RDONLY | O_DIRECTORY));
    TRY(resources::collect_attributes(pid_, *directory_, process));
    last_ = process;
    return process;
}

// The mappings of the last outline, unless they have changed since.
Result<> SourceProcess::collect_mappings(resources::FileCollector& files, model::Process& process) {
    const bool changed = TRY(layout_.refresh());
    if (changed || last_.address_space.vmas.empty()) {
        last_.address_space = TRY(layout_.address_space(files));
    }
    process.address_space = last_.address_space;
    return {};
}

// Frames of borrowed threads lie where nobody else's memory is. While other threads run that is
// what keeps their memory whole; in the freeze, it keeps those apart that are borrowed together.
// Where the first stack is used while the leader runs on it, nobody knows.
trace::StackRooms SourceProcess::rooms_beside(const trace::Tracee& stopped) const {
    if (stopped.tid() != leader_of(pid_)) return {AddrRange{}, RemoteAddr{}};
    const AddrRange first_stack = layout_.mapping_at(RemoteAddr{start_stack_});
    RemoteAddr used{start_stack_};
    const auto registers = stopped.registers();
    if (registers && first_stack.contains(RemoteAddr{registers->stack_pointer()})) {
        used = RemoteAddr{registers->stack_pointer()};
    }
    return {first_stack, used};
}

Result<trace::StackPlace> SourceProcess::find_place(trace::StackRooms& rooms,
                                                    const trace::Tracee& stopped) const {
    const arch::Registers registers = TRY(stopped.registers());
    return rooms.find(stopped, layout_.mapping_at(RemoteAddr{registers.stack_pointer()}));
}

Result<trace::RemoteCalls> SourceProcess::borrow(trace::Tracee& stopped, bool others_run) const {
    trace::StackRooms rooms = rooms_beside(stopped);
    const trace::StackPlace place = TRY(find_place(rooms, stopped));
    if (others_run && place.is_alone) {
        return fail(Error::unsupported(
            fmt::format("thread {} has no room for a system call that is not beside memory of "
                        "threads that run",
                        stopped.tid())));
    }
    return trace::RemoteCalls::borrow(stopped, gadgets_, place);
}

namespace {

struct Borrowed {
    explicit Borrowed(trace::RemoteCalls c) : calls(std::move(c)), questions(calls) {}
    trace::RemoteCalls calls;
    trace::Questions questions;
};

Result<> give_back_all(std::deque<Borrowed>& borrowed) {
    for (Borrowed& one : borrowed) {
        TRY(one.questions.finish());
        TRY(std::move(one.calls).give_back());
    }
    borrowed.clear();
    return {};
}

}  // namespace

// All threads are asked at the same time, as far as there is room for their frames: on a busy
// machine each waits for a processor.
Result<> SourceProcess::ask_threads(trace::FrozenProcess& frozen, model::Process& process) {
    std::deque<Borrowed> borrowed;                   // Questions point to the calls beside them.
    process.threads.reserve(frozen.threads.size());  // Answers go to elements of the vector.
    trace::StackRooms rooms = rooms_beside(frozen.threads.front());
    for (trace::Tracee& tracee : frozen.threads) {
        process.threads.push_back(TRY(resources::collect_thread(tracee)));
        trace::StackPlace place = TRY(find_place(rooms, tracee));
        if (place.is_alone) {
            TRY(give_back_all(borrowed));
            rooms.clear();
            place = TRY(find_place(rooms, tracee));
        }
        auto calls = TRY(trace::RemoteCalls::borrow(tracee, gadgets_, place));
        Borrowed& one = borrowed.emplace_back(std::move(calls));
        TRY(resources::ask_thread(one.questions, process.threads.back()));
        if (process.threads.size() == 1) {
            TRY(resources::ask_registrations(one.calls, process));
            TRY(resources::ask_process(one.questions, *directory_, process));
        }
        TRY(one.questions.start());
    }
    return give_back_all(borrowed);
}

Result<model::Process> SourceProcess::collect(trace::FrozenProcess& frozen,
                                              resources::FileCollector& files,
                                              std::chrono::microseconds& mappings_time) {
    model::Process process;
    set_ids(TRY(directory_->stat()), process);
    process.parent = frozen.parent;
    const Clock::time_point begun = Clock::now();
    TRY(collect_mappings(files, process));
    TRY(check_aio(process.address_space, [&](const auto& work) -> Result<> {
        auto calls = TRY(borrow(frozen.threads.front()));
        TRY(work(calls));
        return std::move(calls).give_back();
    }));
    process.working_directory =
        TRY(files.add_path(fmt::format("/proc/{}/cwd", pid_), O_RDONLY | O_DIRECTORY));
    process.root_directory =
        TRY(files.add_path(fmt::format("/proc/{}/root", pid_), O_RDONLY | O_DIRECTORY));
    mappings_time += since(begun);

    TRY(resources::collect_attributes(pid_, *directory_, process));
    process.seccomp = TRY(resources::collect_seccomp(frozen.threads));
    TRY(ask_threads(frozen, process));
    for (std::size_t i = 0; i < frozen.threads.size(); ++i) {
        TRY(resources::collect_pending(frozen.threads[i], process.threads[i]));
    }
    TRY(resources::collect_pending(frozen.threads.front(), process));
    return process;
}

Result<> SourceProcess::collect_undo(trace::FrozenProcess& frozen, const model::IpcNamespace& ipc,
                                     Pid debtless, model::Process& process) {
    // Who dies of the call does not use them.
    if (ipc.semaphores.empty() || !resources::survives(process.seccomp, SYS_semop)) return {};
    trace::Tracee& leader = frozen.threads.front();
    for (const trace::Tracee& thread : frozen.threads) {
        const auto order = TRY(os::compare_semaphore_undo(leader.tid(), thread.tid()));
        if (order == std::strong_ordering::equal) continue;
        return fail(Error::unsupported(
            fmt::format("thread {} undoes operations on semaphores by itself (CLONE_SYSVSEM), "
                        "which is not carried",
                        thread.tid())));
    }
    // No list at all, as the other has none: the kernel makes it with the first SEM_UNDO, or the
    // first thread.
    if (TRY(os::compare_semaphore_undo(leader.tid(), leader_of(debtless))) ==
        std::strong_ordering::equal) {
        return {};
    }
    auto calls = TRY(borrow(leader));
    process.semaphore_undo =
        TRY(resources::ask_undo(calls, ipc.semaphores, ipc.settings.sem[kOperationsMax]));
    return std::move(calls).give_back();
}

Result<> SourceProcess::call_for_locks(trace::FrozenProcess& frozen,
                                       std::span<const model::FileLock> locks,
                                       resources::LockCall (*call)(const model::FileLock&)) {
    auto calls = TRY(borrow(frozen.threads.front()));
    for (const model::FileLock& lock : locks) {
        if (lock.pid != pid_) continue;
        TRY(resources::make_lock_call(calls, lock.fd, call(lock)));
    }
    return std::move(calls).give_back();
}

// Any thread will do; the main one's stack is the most likely to have room.
Result<> SourceProcess::borrow_some_thread(
    const std::function<Result<>(trace::RemoteCalls&)>& work) {
    std::vector<Tid> threads = TRY(directory_->threads());
    const bool is_single = threads.size() == 1;
    threads.insert(threads.begin(), leader_of(pid_));
    for (const Tid tid : threads) {
        trace::Tracee tracee = TRY(trace::Tracee::seize(pid_, tid));
        TRY(tracee.stop());
        auto calls = borrow(tracee, !is_single);
        if (calls) {
            TRY(work(*calls));
            TRY(std::move(*calls).give_back());
        }
        TRY(std::move(tracee).detach());
        if (calls) return {};
        if (calls.error().kind() != Error::Kind::Unsupported) return fail(calls.error());
        log_debug("{}, trying another thread", calls.error().message());
    }
    return fail(Error::unsupported(
        fmt::format("no thread of process {} has room on its stack for a system call", pid_)));
}

// `borrow` calls what it is given with RemoteCalls of the process.
template <class Borrow>
Result<> SourceProcess::check_aio(const model::AddressSpace& space, Borrow borrow) {
    std::set<std::uint64_t> rings;
    for (const model::Vma& vma : space.vmas) {
        if (vma.kind == model::VmaKind::AioRing) rings.insert(vma.range.start.value);
    }
    if (!std::ranges::includes(aio_contexts_, rings)) {
        TRY(borrow([&](trace::RemoteCalls& calls) -> Result<> {
            for (const std::uint64_t ring : rings) {
                if (TRY(resources::is_aio_context(calls, RemoteAddr{ring}))) continue;
                return fail(Error::unsupported(fmt::format(
                    "process {}: the ring at {:#x} of an aio context of another process, which "
                    "forked it, is not carried",
                    pid_, ring)));
            }
            return {};
        }));
    }
    aio_contexts_ = std::move(rings);
    return {};
}

Result<> SourceProcess::collect_aio(model::Process& process) const {
    for (const model::Vma& vma : process.address_space.vmas) {
        if (vma.kind != model::VmaKind::AioRing) continue;
        process.aio_rings.push_back(TRY(resources::read_aio_ring(pid_, vma.range)));
    }
    return {};
}

Result<bool> SourceProcess::has_noticed_stop(trace::FrozenProcess& frozen, Pid child) const {
    auto calls = TRY(borrow(frozen.threads.front()));
    TRY(calls.call(SYS_waitid, {P_PID, static_cast<std::uint64_t>(child.value),
                                calls.scratch().value, WSTOPPED | WNOHANG | WNOWAIT, 0}));
    const auto waiting = TRY(calls.read_scratch<siginfo_t>());
    TRY(std::move(calls).give_back());
    return waiting.si_pid == 0;
}

Result<os::UniqueFd> SourceProcess::make_userfaultfd() {
    os::UniqueFd made;
    TRY(borrow_some_thread([&](trace::RemoteCalls& calls) -> Result<> {
        made = TRY(borrow_userfaultfd(pid_, calls));
        return {};
    }));
    layout_.expect_write_protection();
    return made;
}

}  // namespace ferry::dump
