#include "image/process_codec.h"

#include <fmt/format.h>
#include <signal.h>

#include <cstring>

#include "image/time_codec.h"
#include "image/xstate_codec.h"

namespace ferry::image {

namespace {

constexpr std::uint32_t kMachineX86 = 1;
// MEMBARRIER_CMD_REGISTER_*.
constexpr std::uint32_t kRegistrations = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8;
constexpr std::uint32_t kStateAlive = 1, kStateDead = 2, kStateStopped = 3;
constexpr std::uint32_t kModeNative = 1;
// The slots of the GDT that set_thread_area(2) gives to 32-bit code.
constexpr std::uint32_t kFirstTlsSlot = 12, kTlsSlots = 3;
constexpr std::uint64_t kMicrosPerSecond = 1'000'000, kNanosPerSecond = 1'000'000'000;
// TASK_COMM_LEN, its NUL included.
constexpr std::size_t kCommBytes = 16;
// NGROUPS_MAX.
constexpr int kGroupsMax = 65536;
constexpr int kPendingSignalsMax = 1 << 20;
constexpr int kPosixTimersMax = 1 << 16;

void registers_to_wire(const user_regs_struct& r, wire::X86Registers& w) {
    w.set_r15(r.r15);
    w.set_r14(r.r14);
    w.set_r13(r.r13);
    w.set_r12(r.r12);
    w.set_bp(r.rbp);
    w.set_bx(r.rbx);
    w.set_r11(r.r11);
    w.set_r10(r.r10);
    w.set_r9(r.r9);
    w.set_r8(r.r8);
    w.set_ax(r.rax);
    w.set_cx(r.rcx);
    w.set_dx(r.rdx);
    w.set_si(r.rsi);
    w.set_di(r.rdi);
    w.set_orig_ax(r.orig_rax);
    w.set_ip(r.rip);
    w.set_cs(r.cs);
    w.set_flags(r.eflags);
    w.set_sp(r.rsp);
    w.set_ss(r.ss);
    w.set_fs_base(r.fs_base);
    w.set_gs_base(r.gs_base);
    w.set_ds(r.ds);
    w.set_es(r.es);
    w.set_fs(r.fs);
    w.set_gs(r.gs);
    w.set_mode(kModeNative);
}

user_regs_struct registers_from_wire(const wire::X86Registers& w) {
    user_regs_struct r = {};
    r.r15 = w.r15();
    r.r14 = w.r14();
    r.r13 = w.r13();
    r.r12 = w.r12();
    r.rbp = w.bp();
    r.rbx = w.bx();
    r.r11 = w.r11();
    r.r10 = w.r10();
    r.r9 = w.r9();
    r.r8 = w.r8();
    r.rax = w.ax();
    r.rcx = w.cx();
    r.rdx = w.dx();
    r.rsi = w.si();
    r.rdi = w.di();
    r.orig_rax = w.orig_ax();
    r.rip = w.ip();
    r.cs = w.cs();
    r.eflags = w.flags();
    r.rsp = w.sp();
    r.ss = w.ss();
    r.fs_base = w.fs_base();
    r.gs_base = w.gs_base();
    r.ds = w.ds();
    r.es = w.es();
    r.fs = w.fs();
    r.gs = w.gs();
    return r;
}

Result<> thread_info_to_wire(const model::Thread& thread, wire::X86ThreadInfo& into) {
    into.set_clear_tid_addr(thread.clear_child_tid);
    registers_to_wire(thread.registers.raw, *into.mutable_gpregs());
    TRY(xstate_to_wire(thread.xstate, *into.mutable_fpregs()));
    for (std::uint32_t slot = 0; slot < kTlsSlots; ++slot) {
        wire::X86Descriptor& empty = *into.add_tls();
        empty.set_entry_number(kFirstTlsSlot + slot);
        empty.set_base_addr(0);
        empty.set_limit(0);
        empty.set_seg_32bit(false);
        empty.set_contents_h(false);
        empty.set_contents_l(false);
        empty.set_read_exec_only(true);
        empty.set_limit_in_pages(false);
        empty.set_seg_not_present(true);
        empty.set_usable(false);
    }
    return {};
}

void capabilities_to_wire(std::uint64_t set, google::protobuf::RepeatedField<std::uint32_t>& into) {
    into.Add(static_cast<std::uint32_t>(set));
    into.Add(static_cast<std::uint32_t>(set >> 32));
}

Result<std::uint64_t> capabilities_from_wire(
    const google::protobuf::RepeatedField<std::uint32_t>& from) {
    if (from.empty()) return 0;
    if (from.size() != 2) return fail(Error::corrupt("a capability set that is not 64 bits"));
    return std::uint64_t{from.Get(0)} | std::uint64_t{from.Get(1)} << 32;
}

void credentials_to_wire(const model::Credentials& c, wire::Creds& w) {
    w.set_uid(c.uid);
    w.set_gid(c.gid);
    w.set_euid(c.euid);
    w.set_egid(c.egid);
    w.set_suid(c.suid);
    w.set_sgid(c.sgid);
    w.set_fsuid(c.fsuid);
    w.set_fsgid(c.fsgid);
    capabilities_to_wire(c.cap_inheritable, *w.mutable_cap_inh());
    capabilities_to_wire(c.cap_permitted, *w.mutable_cap_prm());
    capabilities_to_wire(c.cap_effective, *w.mutable_cap_eff());
    capabilities_to_wire(c.cap_bounding, *w.mutable_cap_bnd());
    capabilities_to_wire(c.cap_ambient, *w.mutable_cap_amb());
    w.set_secbits(c.secure_bits);
    for (const std::uint32_t group : c.groups) w.add_groups(group);
    if (c.no_new_privileges) w.set_no_new_privs(1);
}

Result<model::Credentials> credentials_from_wire(const wire::Creds& w) {
    if (w.groups_size() > kGroupsMax) return fail(Error::limit("too many groups"));
    model::Credentials c;
    c.uid = w.uid();
    c.gid = w.gid();
    c.euid = w.euid();
    c.egid = w.egid();
    c.suid = w.suid();
    c.sgid = w.sgid();
    c.fsuid = w.fsuid();
    c.fsgid = w.fsgid();
    c.cap_inheritable = TRY(capabilities_from_wire(w.cap_inh()));
    c.cap_permitted = TRY(capabilities_from_wire(w.cap_prm()));
    c.cap_effective = TRY(capabilities_from_wire(w.cap_eff()));
    c.cap_bounding = TRY(capabilities_from_wire(w.cap_bnd()));
    c.cap_ambient = TRY(capabilities_from_wire(w.cap_amb()));
    c.secure_bits = w.secbits();
    c.groups.assign(w.groups().begin(), w.groups().end());
    c.no_new_privileges = w.no_new_privs() != 0;
    return c;
}

void signals_to_wire(const std::vector<model::SignalInfo>& pending, wire::SignalQueue& into) {
    for (const model::SignalInfo& info : pending) {
        into.add_signals()->set_siginfo(info.data(), info.size());
    }
}

Result<std::vector<model::SignalInfo>> signals_from_wire(const wire::SignalQueue& from) {
    if (from.signals_size() > kPendingSignalsMax) {
        return fail(Error::limit("too many pending signals"));
    }
    std::vector<model::SignalInfo> pending;
    for (const wire::SigInfo& signal : from.signals()) {
        model::SignalInfo info;
        if (signal.siginfo().size() != info.size()) {
            return fail(Error::corrupt("a pending signal that is not 128 bytes"));
        }
        std::memcpy(info.data(), signal.siginfo().data(), info.size());
        pending.push_back(info);
    }
    return pending;
}

void thread_core_to_wire(const model::Thread& thread, wire::ThreadCore& into) {
    into.set_futex_rla(thread.robust_list);
    into.set_futex_rla_len(thread.robust_list_size);
    into.set_sched_nice(thread.scheduling.nice);
    into.set_sched_policy(static_cast<std::uint32_t>(thread.scheduling.policy));
    if (thread.scheduling.priority != 0) {
        into.set_sched_prio(static_cast<std::uint32_t>(thread.scheduling.priority));
    }
    into.set_blk_sigset(thread.signal_mask);
    wire::AlternateSignalStack& stack = *into.mutable_sas();
    stack.set_ss_sp(thread.alternate_stack.address);
    stack.set_ss_size(thread.alternate_stack.size);
    stack.set_ss_flags(thread.alternate_stack.flags);
    if (thread.parent_death_signal != 0) {
        into.set_pdeath_sig(static_cast<std::uint32_t>(thread.parent_death_signal));
    }
    signals_to_wire(thread.pending, *into.mutable_signals_p());
    credentials_to_wire(thread.credentials, *into.mutable_creds());
    into.set_comm(thread.comm);
    if (thread.rseq.address != 0) {
        wire::Rseq& rseq = *into.mutable_rseq_entry();
        rseq.set_rseq_abi_pointer(thread.rseq.address);
        rseq.set_rseq_abi_size(thread.rseq.size);
        rseq.set_signature(thread.rseq.signature);
    }
}

// SIGKILL and SIGSTOP have no action, and no place in the list.
bool has_action(int signal) {
    return signal != SIGKILL && signal != SIGSTOP;
}

void itimer_to_wire(const model::IntervalTimer& timer, wire::ITimer& into) {
    into.set_isec(timer.interval_us / kMicrosPerSecond);
    into.set_iusec(timer.interval_us % kMicrosPerSecond);
    into.set_vsec(timer.value_us / kMicrosPerSecond);
    into.set_vusec(timer.value_us % kMicrosPerSecond);
}

// CRIU writes no time left for a timer that is about to fire. One that repeats is never disarmed.
std::uint64_t time_left(std::uint64_t value, std::uint64_t interval) {
    return value == 0 && interval != 0 ? 1 : value;
}

Result<model::IntervalTimer> itimer_from_wire(const wire::ITimer& from) {
    model::IntervalTimer timer;
    timer.interval_us = TRY(join_time(from.isec(), from.iusec(), kMicrosPerSecond));
    timer.value_us = TRY(join_time(from.vsec(), from.vusec(), kMicrosPerSecond));
    timer.value_us = time_left(timer.value_us, timer.interval_us);
    return timer;
}

void timers_to_wire(const model::Process& process, wire::TaskTimers& into) {
    itimer_to_wire(process.interval_timers[0], *into.mutable_real());
    itimer_to_wire(process.interval_timers[1], *into.mutable_virt());
    itimer_to_wire(process.interval_timers[2], *into.mutable_prof());
    for (const model::PosixTimer& timer : process.posix_timers) {
        wire::PosixTimerEntry& entry = *into.add_posix();
        entry.set_it_id(static_cast<std::uint32_t>(timer.id));
        entry.set_clock_id(static_cast<std::uint32_t>(timer.clock));
        entry.set_si_signo(static_cast<std::uint32_t>(timer.signal));
        entry.set_it_sigev_notify(static_cast<std::uint32_t>(timer.notify));
        entry.set_sival_ptr(timer.value);
        entry.set_overrun(static_cast<std::uint32_t>(timer.overrun));
        entry.set_isec(timer.interval_ns / kNanosPerSecond);
        entry.set_insec(timer.interval_ns % kNanosPerSecond);
        entry.set_vsec(timer.value_ns / kNanosPerSecond);
        entry.set_vnsec(timer.value_ns % kNanosPerSecond);
        if (timer.notify_tid != 0) entry.set_notify_thread_id(timer.notify_tid);
    }
}

Result<> timers_from_wire(const wire::TaskTimers& from, model::Process& into) {
    into.interval_timers[0] = TRY(itimer_from_wire(from.real()));
    into.interval_timers[1] = TRY(itimer_from_wire(from.virt()));
    into.interval_timers[2] = TRY(itimer_from_wire(from.prof()));
    if (from.posix_size() > kPosixTimersMax) return fail(Error::limit("too many POSIX timers"));
    for (const wire::PosixTimerEntry& entry : from.posix()) {
        model::PosixTimer timer;
        timer.id = static_cast<int>(entry.it_id());
        timer.clock = static_cast<int>(entry.clock_id());
        timer.signal = static_cast<int>(entry.si_signo());
        timer.notify = static_cast<int>(entry.it_sigev_notify());
        timer.value = entry.sival_ptr();
        timer.overrun = static_cast<int>(entry.overrun());
        timer.interval_ns = TRY(join_time(entry.isec(), entry.insec(), kNanosPerSecond));
        timer.value_ns = TRY(join_time(entry.vsec(), entry.vnsec(), kNanosPerSecond));
        timer.value_ns = time_left(timer.value_ns, timer.interval_ns);
        timer.notify_tid = entry.notify_thread_id();
        into.posix_timers.push_back(timer);
    }
    return {};
}

void task_core_to_wire(const model::Process& process, wire::TaskCore& into) {
    const model::Thread& leader = process.leader();
    into.set_task_state(process.stop ? kStateStopped : kStateAlive);
    into.set_exit_code(0);
    into.set_personality(process.personality);
    // The kernel's own PF_* flags: informative, restored by nobody.
    into.set_flags(0);
    into.set_blk_sigset(leader.signal_mask);
    into.set_comm(leader.comm);
    timers_to_wire(process, *into.mutable_timers());
    for (const model::ResourceLimit& limit : process.limits) {
        wire::Rlimit& entry = *into.mutable_rlimits()->add_rlimits();
        entry.set_cur(limit.soft);
        entry.set_max(limit.hard);
    }
    signals_to_wire(process.pending, *into.mutable_signals_s());
    into.set_oom_score_adj(process.oom_score_adj);
    for (int signal = 1; signal <= model::kSignals; ++signal) {
        if (!has_action(signal)) continue;
        const model::SignalAction& action = process.actions[static_cast<std::size_t>(signal - 1)];
        wire::SigAction& entry = *into.add_sigactions();
        entry.set_sigaction(action.handler);
        entry.set_flags(action.flags);
        entry.set_restorer(action.restorer);
        entry.set_mask(action.mask);
        entry.set_compat_sigaction(false);
    }
    into.set_child_subreaper(process.child_subreaper);
    if (process.membarrier != 0) into.set_membarrier_registration_mask(process.membarrier);
}

Result<> actions_from_wire(const wire::TaskCore& from, model::Process& into) {
    int index = 0;
    for (int signal = 1; signal <= model::kSignals; ++signal) {
        if (!has_action(signal)) continue;
        if (index == from.sigactions_size()) {
            return fail(Error::corrupt(fmt::format("only {} signal actions", index)));
        }
        const wire::SigAction& entry = from.sigactions(index++);
        if (entry.compat_sigaction()) return fail(Error::unsupported("a 32-bit signal handler"));
        into.actions[static_cast<std::size_t>(signal - 1)] = {.handler = entry.sigaction(),
                                                              .flags = entry.flags(),
                                                              .restorer = entry.restorer(),
                                                              .mask = entry.mask()};
    }
    return {};
}

Result<> limits_from_wire(const wire::TaskRlimits& from, model::Process& into) {
    if (from.rlimits_size() != model::kResourceLimits) {
        return fail(Error::corrupt(fmt::format("{} resource limits", from.rlimits_size())));
    }
    for (int i = 0; i < model::kResourceLimits; ++i) {
        into.limits[static_cast<std::size_t>(i)] = {.soft = from.rlimits(i).cur(),
                                                    .hard = from.rlimits(i).max()};
    }
    return {};
}

Result<> thread_core_from_wire(const wire::ThreadCore& from, model::Thread& into) {
    into.robust_list = from.futex_rla();
    into.robust_list_size = from.futex_rla_len();
    into.scheduling.nice = from.sched_nice();
    into.scheduling.policy = static_cast<int>(from.sched_policy());
    into.scheduling.priority = static_cast<int>(from.sched_prio());
    if (from.has_blk_sigset()) into.signal_mask = from.blk_sigset();
    if (from.has_sas()) {
        into.alternate_stack = {.address = from.sas().ss_sp(),
                                .size = from.sas().ss_size(),
                                .flags = from.sas().ss_flags()};
    }
    into.parent_death_signal = static_cast<int>(from.pdeath_sig());
    into.pending = TRY(signals_from_wire(from.signals_p()));
    if (!from.has_creds()) return fail(Error::corrupt("no credentials"));
    into.credentials = TRY(credentials_from_wire(from.creds()));
    if (from.has_comm()) into.comm = from.comm();
    if (into.comm.size() >= kCommBytes) return fail(Error::corrupt("a name of 16 bytes or more"));
    if (from.has_rseq_entry()) {
        into.rseq = {.address = from.rseq_entry().rseq_abi_pointer(),
                     .size = from.rseq_entry().rseq_abi_size(),
                     .signature = from.rseq_entry().signature()};
    }
    return {};
}

}  // namespace

Result<> core_to_wire(const model::Process& process, const model::Thread& thread,
                      std::uint32_t cgroup_set, wire::CoreEntry& into) {
    into.set_mtype(kMachineX86);
    TRY(thread_info_to_wire(thread, *into.mutable_thread_info()));
    thread_core_to_wire(thread, *into.mutable_thread_core());
    into.mutable_thread_core()->set_cg_set(cgroup_set);
    if (thread.tid == leader_of(process.pid)) {
        task_core_to_wire(process, *into.mutable_tc());
        // Readers before CRIU 4 look for it here.
        into.mutable_tc()->set_cg_set(cgroup_set);
    }
    return {};
}

void zombie_to_wire(const model::Process& process, wire::CoreEntry& into) {
    into.set_mtype(kMachineX86);
    wire::TaskCore& core = *into.mutable_tc();
    core.set_task_state(kStateDead);
    core.set_exit_code(static_cast<std::uint32_t>(process.exit_status));
    core.set_personality(0);
    core.set_flags(0);
    core.set_blk_sigset(0);
    core.set_comm("");
}

Result<> thread_from_wire(const wire::CoreEntry& from, model::Thread& into) {
    if (from.mtype() != kMachineX86) return fail(Error::unsupported("a CPU that is not x86-64"));
    if (!from.has_thread_info() || !from.has_thread_core()) {
        return fail(Error::corrupt("a thread without registers"));
    }
    const wire::X86ThreadInfo& info = from.thread_info();
    if (info.gpregs().mode() != kModeNative) return fail(Error::unsupported("a 32-bit task"));
    for (const wire::X86Descriptor& slot : info.tls()) {
        if (!slot.seg_not_present() || slot.usable()) {
            return fail(Error::unsupported("a thread with GDT segments (set_thread_area)"));
        }
    }
    into.clear_child_tid = info.clear_tid_addr();
    into.registers.raw = registers_from_wire(info.gpregs());
    into.xstate = TRY(xstate_from_wire(info.fpregs()));
    if (from.has_tc()) {
        into.signal_mask = from.tc().blk_sigset();
        into.comm = from.tc().comm();
    }
    return thread_core_from_wire(from.thread_core(), into);
}

Result<> process_from_wire(const wire::CoreEntry& from, model::Process& into) {
    if (!from.has_tc()) return fail(Error::corrupt("a process without a task record"));
    const wire::TaskCore& core = from.tc();
    if (core.task_state() == kStateDead) {
        into.is_zombie = true;
        into.exit_status = static_cast<int>(core.exit_code());
        return {};
    }
    if (core.task_state() == kStateStopped) into.stop = model::GroupStop{.signal = SIGSTOP};
    if (core.task_state() != kStateAlive && !into.stop) {
        return fail(Error::corrupt(fmt::format("a task in state {}", core.task_state())));
    }
    if (core.old_seccomp_mode() != 0) return fail(Error::unsupported("a seccomp filter"));
    if ((core.membarrier_registration_mask() & ~kRegistrations) != 0) {
        return fail(Error::unsupported(fmt::format("the membarrier(2) registrations {:#x}",
                                                   core.membarrier_registration_mask())));
    }
    into.membarrier = core.membarrier_registration_mask();
    into.personality = core.personality();
    into.oom_score_adj = core.oom_score_adj();
    into.child_subreaper = core.child_subreaper();
    TRY(timers_from_wire(core.timers(), into));
    TRY(limits_from_wire(core.rlimits(), into));
    into.pending = TRY(signals_from_wire(core.signals_s()));
    return actions_from_wire(core, into);
}

std::uint32_t cgroup_set_of(const wire::CoreEntry& core) {
    if (core.thread_core().has_cg_set()) return core.thread_core().cg_set();
    return core.tc().cg_set();
}

void ids_to_wire(std::uint32_t own, wire::KobjIds& into) {
    into.set_vm_id(own);
    into.set_files_id(own);
    into.set_fs_id(own);
    into.set_sighand_id(own);
    // The namespaces of the dumper, the same in the inventory and in every task: those of the host.
    into.set_pid_ns_id(1);
    into.set_net_ns_id(2);
    into.set_ipc_ns_id(3);
    into.set_uts_ns_id(4);
    into.set_time_ns_id(kDumpersTimeNamespace);
    into.set_mnt_ns_id(6);
    into.set_user_ns_id(7);
    into.set_cgroup_ns_id(8);
}

}  // namespace ferry::image
