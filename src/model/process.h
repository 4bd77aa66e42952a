// Processes and threads, as values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "arch/registers.h"
#include "base/types.h"
#include "model/files.h"
#include "model/ipc.h"
#include "model/memory.h"

namespace ferry::model {

// The kernel's struct sigaction of x86-64 (rt_sigaction(2)), for signals 1..64.
struct SignalAction {
    std::uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
    bool operator==(const SignalAction&) const = default;
};
inline constexpr int kSignals = 64;

// siginfo_t as the kernel gives it to PTRACE_PEEKSIGINFO: 128 bytes.
using SignalInfo = std::array<std::byte, 128>;

struct AlternateStack {
    std::uint64_t address = 0, size = 0;
    std::uint32_t flags = 2;  // SS_DISABLE
    bool operator==(const AlternateStack&) const = default;
};

struct Credentials {
    std::uint32_t uid = 0, euid = 0, suid = 0, fsuid = 0;
    std::uint32_t gid = 0, egid = 0, sgid = 0, fsgid = 0;
    std::vector<std::uint32_t> groups;
    // Bit n is capability n.
    std::uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0,
                  cap_ambient = 0;
    std::uint32_t secure_bits = 0;
    bool no_new_privileges = false;
    bool operator==(const Credentials&) const = default;
};

struct Scheduling {
    int policy = 0;  // SCHED_*, with SCHED_RESET_ON_FORK
    int nice = 0;
    int priority = 0;
    std::vector<std::uint8_t> affinity;  // cpu mask bytes; empty: all
    int io_priority = 0;                 // ioprio_get(2); 0: none
    std::uint64_t timer_slack_ns = 0;    // PR_GET_TIMERSLACK; 0: not known, or a real-time thread
    bool operator==(const Scheduling&) const = default;
};

struct RestartableSequence {  // rseq(2)
    std::uint64_t address = 0;
    std::uint32_t size = 0, signature = 0;
    bool operator==(const RestartableSequence&) const = default;
};

struct Thread {
    Tid tid;
    arch::Registers registers;  // as userspace must see them: system call restarts already resolved
    arch::XState xstate;        // raw XSAVE area, NT_X86_XSTATE
    std::uint64_t signal_mask = 0;  // blocked
    std::vector<SignalInfo> pending;
    AlternateStack alternate_stack;
    std::uint64_t robust_list = 0;
    std::uint32_t robust_list_size = 0;
    std::uint64_t clear_child_tid = 0;  // PR_GET_TID_ADDRESS
    RestartableSequence rseq;
    Credentials credentials;
    Scheduling scheduling;
    int parent_death_signal = 0;
    std::string comm;
    bool operator==(const Thread&) const = default;
};

struct IntervalTimer {  // setitimer(2)
    std::uint64_t interval_us = 0, value_us = 0;
    bool operator==(const IntervalTimer&) const = default;
};

struct PosixTimer {  // timer_create(2)
    int id = 0;
    int clock = 0;
    int notify = 0;  // SIGEV_*
    int signal = 0;
    std::uint64_t value = 0;  // sigev_value
    pid_t notify_tid = 0;     // SIGEV_THREAD_ID
    std::uint64_t interval_ns = 0, value_ns = 0;
    int overrun = 0;
    bool operator==(const PosixTimer&) const = default;
};

// One filter of seccomp(2).
struct SeccompFilter {
    Bytes program;            // struct sock_filter, eight bytes each
    std::uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_LOG
    bool operator==(const SeccompFilter&) const = default;
};

// The ring of a context that io_setup(2) made, which is known by the ring's address. Between
// io_submit(2) and the event in the ring a request lives in the kernel alone: none is carried.
struct AioRing {
    std::uint64_t address = 0;
    Bytes content;  // struct aio_ring (kernel: fs/aio.c), then its events
    bool operator==(const AioRing&) const = default;
};

struct ResourceLimit {
    std::uint64_t soft = 0, hard = 0;
    bool operator==(const ResourceLimit&) const = default;
};
inline constexpr int kResourceLimits = 16;  // RLIM_NLIMITS

struct ControlGroup {         // one line of /proc/PID/cgroup
    std::string controllers;  // "" for v2, "cpu,cpuacct", "name=systemd"
    std::string path;
    bool operator==(const ControlGroup&) const = default;
};

// Inode numbers of /proc/PID/ns/*.
struct NamespaceIds {
    std::uint64_t mnt = 0, net = 0, pid = 0, uts = 0, ipc = 0, user = 0, cgroup = 0, time = 0;
    bool operator==(const NamespaceIds&) const = default;
};

// The process stands still because of a signal, until it gets SIGCONT.
struct GroupStop {
    int signal = 0;        // SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU
    bool noticed = false;  // its parent has waited for it already (WUNTRACED)
    bool operator==(const GroupStop&) const = default;
};

struct Process {
    Pid pid;
    Pid parent;  // 0 for the root of the tree
    Pid group;   // process group
    Pid session;
    // Terminal::index of its controlling terminal, if the tree has the master.
    std::optional<std::uint32_t> terminal;
    bool is_zombie = false;
    int exit_status = 0;  // zombies: wait status
    std::optional<GroupStop> stop;
    std::vector<Thread> threads;  // the leader first; empty for zombies
    AddressSpace address_space;
    std::vector<AioRing> aio_rings;       // ascending; empty in a skeleton
    std::vector<Descriptor> descriptors;  // ascending by fd
    FileId working_directory = 0, root_directory = 0;
    std::uint32_t umask = 022;
    std::array<SignalAction, kSignals> actions;  // index 0 is signal 1
    std::vector<SignalInfo> pending;             // of the whole process
    std::array<IntervalTimer, 3> interval_timers;
    std::vector<PosixTimer> posix_timers;
    std::array<ResourceLimit, kResourceLimits> limits;
    std::uint32_t personality = 0;
    bool child_subreaper = false;
    int oom_score_adj = 0;
    // Which barriers it has registered for: commands of membarrier(2) that do so.
    std::uint32_t membarrier = 0;
    // What a core dump has (core(5), coredump_filter).
    std::optional<std::uint32_t> core_filter;
    std::vector<ControlGroup> cgroups;
    NamespaceIds namespaces;
    // The same for every thread, the oldest first.
    std::vector<SeccompFilter> seccomp;
    std::vector<SemaphoreUndo> semaphore_undo;
    bool operator==(const Process&) const = default;

    [[nodiscard]] const Thread& leader() const { return threads.front(); }
};

}  // namespace ferry::model
