#include "restore/task_state.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "os/fd.h"
#include "os/process.h"
#include "os/task.h"
#include "proc/process_directory.h"
#include "proc/user_namespace.h"
#include "resources/thread_state.h"
#include "resources/user_ids.h"

namespace ferry::restore {
namespace {

using model::Credentials;
using model::SignalInfo;

constexpr int kCapabilities = 64;

int signal_number(const SignalInfo& info) {
    int number = 0;  // si_signo comes first
    std::memcpy(&number, info.data(), sizeof(number));
    return number;
}

void add_capabilities(Program& program, const Credentials& wanted) {
    const std::array data = {
        __user_cap_data_struct{.effective = static_cast<std::uint32_t>(wanted.cap_effective),
                               .permitted = static_cast<std::uint32_t>(wanted.cap_permitted),
                               .inheritable = static_cast<std::uint32_t>(wanted.cap_inheritable)},
        __user_cap_data_struct{
            .effective = static_cast<std::uint32_t>(wanted.cap_effective >> 32),
            .permitted = static_cast<std::uint32_t>(wanted.cap_permitted >> 32),
            .inheritable = static_cast<std::uint32_t>(wanted.cap_inheritable >> 32)},
    };
    const __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    program.call("capset", SYS_capset, {program.add_value(header), program.add_value(data)});
    for (int capability = 0; capability < kCapabilities; ++capability) {
        if ((wanted.cap_ambient >> capability & 1) == 0) continue;
        program.call("prctl", SYS_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0});
    }
}

// Ids first, without the kernel's own change of capabilities; then what the capabilities forbid to
// set later; the capabilities last (capabilities(7), "Effect of user ID changes on capabilities").
void add_credentials(Program& program, const Credentials& wanted) {
    program.call("setgroups", SYS_setgroups,
                 {wanted.groups.size(), program.add_array(std::span(wanted.groups))});
    program.call("prctl", SYS_prctl, {PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP});
    program.call("setresgid", SYS_setresgid, {wanted.gid, wanted.egid, wanted.sgid});
    program.call("setfsgid", SYS_setfsgid, {wanted.fsgid});
    program.call("setresuid", SYS_setresuid, {wanted.uid, wanted.euid, wanted.suid});
    program.call("setfsuid", SYS_setfsuid, {wanted.fsuid});
    for (int capability = 0; capability < kCapabilities; ++capability) {
        if ((wanted.cap_bounding >> capability & 1) != 0) continue;
        // EINVAL above the kernel's last capability.
        program.call("prctl", SYS_prctl, {PR_CAPBSET_DROP, capability, 0, 0, 0}, kAnything);
    }
    program.call("prctl", SYS_prctl, {PR_SET_SECUREBITS, wanted.secure_bits});
    add_capabilities(program, wanted);
    if (wanted.no_new_privileges) {
        program.call("prctl", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0});
    }
}

void add_interval_timers(Program& program, const model::Process& wanted) {
    const auto time_of = [](std::uint64_t us) {
        return timeval{.tv_sec = static_cast<time_t>(us / 1'000'000),
                       .tv_usec = static_cast<suseconds_t>(us % 1'000'000)};
    };
    for (std::size_t which = 0; which < wanted.interval_timers.size(); ++which) {
        const model::IntervalTimer& timer = wanted.interval_timers[which];
        if (timer.value_us == 0 && timer.interval_us == 0) continue;
        const itimerval value = {.it_interval = time_of(timer.interval_us),
                                 .it_value = time_of(timer.value_us)};
        program.call("setitimer", SYS_setitimer, {which, program.add_value(value), 0});
    }
}

Data add_event(Program& program, const model::PosixTimer& timer) {
    struct {  // struct sigevent of the kernel
        std::uint64_t value;
        std::int32_t signal, notify, tid;
        std::byte rest[44];
    } event = {};
    static_assert(sizeof(event) == 64);
    event.value = timer.value;
    event.signal = timer.signal;
    event.notify = timer.notify;
    event.tid = timer.notify_tid;
    return program.add_value(event);
}

void add_timer_setting(Program& program, const model::PosixTimer& timer) {
    if (timer.value_ns == 0) return;
    const itimerspec value = os::timer_setting(timer.value_ns, timer.interval_ns);
    program.call("timer_settime", SYS_timer_settime, {timer.id, 0, program.add_value(value), 0});
}

Op add_timer(Program& program, const model::PosixTimer& timer, Expectation expectation) {
    const Data id = program.add_value(timer.id);
    return program.call("timer_create", SYS_timer_create,
                        {timer.clock, add_event(program, timer), id}, expectation);
}

// Before Linux 6.15 a process's timers are numbered in the order of their creation.
Result<> count_up_timers(StubProcess& process, const model::Process& wanted) {
    constexpr int kTimerIdMax = 1 << 16;
    int next = 0;
    for (const model::PosixTimer& timer : wanted.posix_timers) {
        if (timer.id > kTimerIdMax) {
            return fail(Error::unsupported(fmt::format(
                "process {}: timer {} cannot be made on this kernel", wanted.pid, timer.id)));
        }
        Program program;
        for (; next <= timer.id; ++next) {
            const Data id = program.add_value<std::int32_t>(0);
            program.call("timer_create", SYS_timer_create,
                         {timer.clock, add_event(program, timer), id});
            if (next != timer.id) {
                program.call("timer_delete", SYS_timer_delete, {Load32{id}});
            }
            TRY(process.leader().run_if_full(program));
        }
        add_timer_setting(program, timer);
        TRY(process.leader().run_rest(program));
    }
    return {};
}

Result<> set_posix_timers(StubProcess& process, const model::Process& wanted) {
    if (wanted.posix_timers.empty()) return {};
    Program probe;
    const Op on = probe.call("prctl", SYS_prctl, {kTimerCreateRestoreIds, 1, 0, 0, 0}, kAnything);
    TRY(process.leader().run(probe));
    if (probe.result(on) < 0) return count_up_timers(process, wanted);
    Program program;
    for (const model::PosixTimer& timer : wanted.posix_timers) {
        add_timer(program, timer, kSuccess);
        add_timer_setting(program, timer);
        TRY(process.leader().run_if_full(program));
    }
    program.call("prctl", SYS_prctl, {kTimerCreateRestoreIds, 0, 0, 0, 0});
    return process.leader().run_rest(program);
}

// If it is pending; every signal is blocked.
void discard(Program& program, int signal) {
    const std::uint64_t one = 1ULL << (signal - 1);
    const timespec at_once = {};
    program.call("rt_sigtimedwait", SYS_rt_sigtimedwait,
                 {program.add_value(one), 0, program.add_value(at_once), sizeof(one)}, kAnything);
}

// From outside where we may: a process in a user namespace cannot raise its limits whatever it may
// there, nor can one that has given up its capabilities by now.
Result<> set_limits(Program& program, StubProcess& process, const model::Process& wanted) {
    for (int resource = 0; resource < model::kResourceLimits; ++resource) {
        const auto& limit = wanted.limits[static_cast<std::size_t>(resource)];
        const rlimit64 value = {.rlim_cur = limit.soft, .rlim_max = limit.hard};
        const auto set = os::set_prlimit(process.here, resource, value);
        if (set) continue;
        if (set.error().code() != EPERM) return fail(set.error());
        program.call("prlimit64", SYS_prlimit64, {0, resource, program.add_value(value), 0});
    }
    return {};
}

}  // namespace

Result<Credentials> first_credentials(Pid process) {
    const auto directory = TRY(proc::ProcessDirectory::open(process));
    Credentials credentials = resources::credentials_of(TRY(directory.status()));
    const auto space = TRY(proc::user_namespace_of(process));
    if (space) TRY(resources::number_users_from_inside(credentials, *space));
    credentials.secure_bits = static_cast<std::uint32_t>(::prctl(PR_GET_SECUREBITS));
    return credentials;
}

Result<> set_process_state(StubProcess& process, const model::Process& wanted) {
    const auto directory = TRY(proc::ProcessDirectory::open(process.here));
    if (TRY(directory.oom_score_adj()) != wanted.oom_score_adj) {
        TRY(os::write_file(directory.get(), "oom_score_adj",
                           fmt::format("{}", wanted.oom_score_adj)));
    }
    if (wanted.core_filter) {
        TRY(os::write_file(directory.get(), "coredump_filter",
                           fmt::format("{:#x}", *wanted.core_filter)));
    }
    Program program;
    for (int signal = 1; signal <= model::kSignals; ++signal) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        const auto& action = wanted.actions[static_cast<std::size_t>(signal - 1)];
        if (action == model::SignalAction{}) continue;  // as the stub has it
        program.call("rt_sigaction", SYS_rt_sigaction,
                     {signal, program.add_value(action), 0, sizeof(std::uint64_t)});
    }
    // A terminal that has got its size is one whose foreground was told of it.
    if (process.terminal) discard(program, SIGWINCH);
    program.call("umask", SYS_umask, {wanted.umask});
    for (std::uint32_t command = 1; command != 0 && command <= wanted.membarrier; command <<= 1) {
        if ((wanted.membarrier & command) == 0) continue;
        program.call("membarrier", SYS_membarrier, {command, 0, 0});
    }
    if (wanted.address_space.thp_disabled) {
        program.call("prctl", SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
    }
    return process.leader().run(program);
}

Result<> install_seccomp(StubProcess& process, const model::Process& wanted) {
    if (wanted.seccomp.empty()) return {};
    if (!process.leader().tracee().suspends_seccomp()) {
        return fail(Error::unsupported(
            "seccomp filters, which cannot be suspended here: run Ferry with CAP_SYS_ADMIN and "
            "without filters of its own"));
    }
    Program program;
    for (const model::SeccompFilter& filter : wanted.seccomp) {
        const Data instructions = program.add(filter.program);
        const sock_fprog header = {
            .len = static_cast<unsigned short>(filter.program.size() / sizeof(sock_filter)),
            .filter = nullptr};
        const Data at = program.add_value(header);
        program.point(at, offsetof(sock_fprog, filter), instructions);
        // Positive: the id of a thread that could not be synchronised (seccomp(2)).
        program.call("seccomp", SYS_seccomp,
                     {SECCOMP_SET_MODE_FILTER, filter.flags | SECCOMP_FILTER_FLAG_TSYNC, at},
                     exactly(0));
        TRY(process.leader().run_if_full(program));
    }
    return process.leader().run_rest(program);
}

void add_thread_state(Program& program, const model::Process& process, const model::Thread& thread,
                      bool same_credentials) {
    program.call("personality", SYS_personality, {process.personality});
    const stack_t stack = {.ss_sp = reinterpret_cast<void*>(thread.alternate_stack.address),
                           .ss_flags = static_cast<int>(thread.alternate_stack.flags & ~1u),
                           .ss_size = thread.alternate_stack.size};
    program.call("sigaltstack", SYS_sigaltstack, {program.add_value(stack), 0});
    if (thread.robust_list != 0) {
        program.call("set_robust_list", SYS_set_robust_list,
                     {thread.robust_list, thread.robust_list_size});
    }
    program.call("set_tid_address", SYS_set_tid_address, {thread.clear_child_tid});
    program.call("prctl", SYS_prctl, {PR_SET_NAME, program.add_text(thread.comm)});
    if (thread.rseq.address != 0) {
        program.call("rseq", SYS_rseq,
                     {thread.rseq.address, thread.rseq.size, 0, thread.rseq.signature});
    }
    if (!same_credentials) add_credentials(program, thread.credentials);
    // A change of credentials clears it.
    program.call("prctl", SYS_prctl, {PR_SET_PDEATHSIG, thread.parent_death_signal});
    for (const SignalInfo& info : thread.pending) {
        program.call(
            "rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo,
            {process.pid.value, thread.tid.value, signal_number(info), program.add_value(info)});
    }
}

Result<> finish_process(StubProcess& process, const model::Process& wanted) {
    StubThread& leader = process.leader();
    TRY(set_posix_timers(process, wanted));
    Program program;
    discard(program, SIGCHLD);  // children that were ended while staging left one behind
    for (const SignalInfo& info : wanted.pending) {
        program.call("rt_sigqueueinfo", SYS_rt_sigqueueinfo,
                     {process.pid.value, signal_number(info), program.add_value(info)});
        TRY(leader.run_if_full(program));
    }
    TRY(set_limits(program, process, wanted));
    add_interval_timers(program, wanted);
    // Only the kernel gives 2 (by a change of ids, suid_dumpable); prctl takes 0 and 1.
    if (wanted.address_space.dumpable < 2) {
        program.call("prctl", SYS_prctl, {PR_SET_DUMPABLE, wanted.address_space.dumpable});
    }
    TRY(leader.run_if_full(program));
    program.call("close", SYS_close, {leader.socket_number()});
    leader.set_socket_number(-1);
    return leader.run(program);
}

}  // namespace ferry::restore
