#include "resources/seccomp.h"

#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>

#include "os/ptrace.h"

namespace ferry::resources {
namespace {

using model::SeccompFilter;

// The kernel bounds a path of filters to 32,768 instructions (MAX_INSNS_PER_PATH).
constexpr unsigned kFiltersMax = 1 << 12;
// Steps of one walk. Real filters take some hundred; one that forks at every argument is refused.
constexpr int kStepsMax = 1 << 16;

struct RemoteCall {
    std::uint32_t number;
    const char* name;
};
// What threads are made to call for us: dump/source_process.cc, thread_state.cc, process_state.cc,
// and the way home from a signal frame.
constexpr std::array kRemoteCalls = {
    RemoteCall{SYS_rt_sigreturn, "rt_sigreturn"},
    RemoteCall{SYS_userfaultfd, "userfaultfd"},
    RemoteCall{SYS_close, "close"},
    RemoteCall{SYS_brk, "brk"},
    RemoteCall{SYS_prctl, "prctl"},
    RemoteCall{SYS_sigaltstack, "sigaltstack"},
    RemoteCall{SYS_rt_sigaction, "rt_sigaction"},
    RemoteCall{SYS_getitimer, "getitimer"},
    RemoteCall{SYS_timer_gettime, "timer_gettime"},
    RemoteCall{SYS_timer_getoverrun, "timer_getoverrun"},
};

std::vector<sock_filter> instructions_of(const SeccompFilter& filter) {
    std::vector<sock_filter> instructions(filter.program.size() / sizeof(sock_filter));
    if (instructions.empty()) return instructions;
    std::memcpy(instructions.data(), filter.program.data(),
                instructions.size() * sizeof(sock_filter));
    return instructions;
}

bool is_harmless(std::uint32_t returned) {
    const std::uint32_t action = returned & SECCOMP_RET_ACTION_FULL;
    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG || action == SECCOMP_RET_ERRNO;
}

bool asks_a_supervisor(const sock_filter& instruction) {
    return instruction.code == (BPF_RET | BPF_K) &&
           (instruction.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;
}

// Follows every way that a filter can go for one system call. What depends on its arguments or on
// the address it is made from is unknown, and both branches are followed.
class Walk {
  public:
    Walk(const std::vector<sock_filter>& program, std::uint32_t number)
        : program_(program), number_(number) {}

    bool only_harmless() {
        std::vector<State> waiting = {State{}};
        for (int steps = 0; !waiting.empty(); ++steps) {
            State& state = waiting.back();
            if (steps == kStepsMax || state.at >= program_.size()) return false;
            const sock_filter& instruction = program_[state.at++];
            if (BPF_CLASS(instruction.code) == BPF_RET) {
                if (!may_return(state, instruction)) return false;
                waiting.pop_back();
            } else if (BPF_CLASS(instruction.code) == BPF_JMP) {
                if (const auto other = jump(state, instruction)) waiting.push_back(*other);
            } else {
                step(state, instruction);
            }
        }
        return true;
    }

  private:
    using Value = std::optional<std::uint32_t>;  // nothing: unknown
    struct State {
        std::size_t at = 0;
        Value a, x;
        std::array<Value, BPF_MEMWORDS> memory;
    };

    static bool may_return(const State& state, const sock_filter& instruction) {
        const Value value =
            BPF_RVAL(instruction.code) == BPF_A ? state.a : std::optional(instruction.k);
        return value && is_harmless(*value);
    }

    [[nodiscard]] Value loaded(std::uint32_t offset) const {
        if (offset == offsetof(seccomp_data, nr)) return number_;
        if (offset == offsetof(seccomp_data, arch)) return AUDIT_ARCH_X86_64;
        return std::nullopt;
    }

    void step(State& state, const sock_filter& instruction) const {
        switch (BPF_CLASS(instruction.code)) {
            case BPF_LD:
                state.a = load(state, instruction);
                break;
            case BPF_LDX:
                state.x = load(state, instruction);
                break;
            case BPF_ST:
                if (instruction.k < BPF_MEMWORDS) state.memory.at(instruction.k) = state.a;
                break;
            case BPF_STX:
                if (instruction.k < BPF_MEMWORDS) state.memory.at(instruction.k) = state.x;
                break;
            case BPF_ALU:
                state.a = compute(state, instruction);
                break;
            default:  // BPF_MISC
                if (BPF_MISCOP(instruction.code) == BPF_TAX) state.x = state.a;
                if (BPF_MISCOP(instruction.code) == BPF_TXA) state.a = state.x;
        }
    }

    [[nodiscard]] Value load(const State& state, const sock_filter& instruction) const {
        switch (BPF_MODE(instruction.code)) {
            case BPF_ABS:
                return loaded(instruction.k);
            case BPF_IMM:
                return instruction.k;
            case BPF_MEM:
                if (instruction.k < BPF_MEMWORDS) return state.memory.at(instruction.k);
                return std::nullopt;
            case BPF_LEN:
                return sizeof(seccomp_data);
            default:
                return std::nullopt;
        }
    }

    static Value compute(const State& state, const sock_filter& instruction) {
        const Value operand =
            BPF_SRC(instruction.code) == BPF_X ? state.x : std::optional(instruction.k);
        if (!state.a || !operand) return std::nullopt;
        const std::uint32_t a = *state.a;
        const std::uint32_t b = *operand;
        switch (BPF_OP(instruction.code)) {
            case BPF_ADD:
                return a + b;
            case BPF_SUB:
                return a - b;
            case BPF_AND:
                return a & b;
            case BPF_OR:
                return a | b;
            case BPF_XOR:
                return a ^ b;
            case BPF_LSH:
                return b < 32 ? a << b : 0;
            case BPF_RSH:
                return b < 32 ? a >> b : 0;
            default:  // what filters do not use on the number of a call
                return std::nullopt;
        }
    }

    // Moves the state on; the second state is the other branch, where both are possible.
    static std::optional<State> jump(State& state, const sock_filter& instruction) {
        if (BPF_OP(instruction.code) == BPF_JA) {
            state.at += instruction.k;
            return std::nullopt;
        }
        const Value operand =
            BPF_SRC(instruction.code) == BPF_X ? state.x : std::optional(instruction.k);
        if (state.a && operand) {
            state.at += holds(BPF_OP(instruction.code), *state.a, *operand) ? instruction.jt
                                                                            : instruction.jf;
            return std::nullopt;
        }
        State other = state;
        other.at += instruction.jf;
        state.at += instruction.jt;
        return other;
    }

    static bool holds(int operation, std::uint32_t a, std::uint32_t b) {
        if (operation == BPF_JEQ) return a == b;
        if (operation == BPF_JGT) return a > b;
        if (operation == BPF_JGE) return a >= b;
        return (a & b) != 0;  // BPF_JSET
    }

    const std::vector<sock_filter>& program_;
    std::uint32_t number_;
};

}  // namespace

Result<> check_seccomp_mode(Tid tid, int mode) {
    if (mode != SECCOMP_MODE_STRICT) return {};
    return fail(Error::unsupported(
        fmt::format("thread {} is in seccomp's strict mode, which is not carried", tid)));
}

Result<std::vector<SeccompFilter>> read_seccomp(const trace::Tracee& stopped) {
    std::vector<SeccompFilter> filters;
    for (unsigned index = 0; index < kFiltersMax; ++index) {
        auto read = TRY(os::ptrace_seccomp_get_filter(stopped.tid(), index));
        if (!read) {
            std::ranges::reverse(filters);  // the kernel counts from the newest
            return filters;
        }
        filters.push_back({.program = std::move(read->program), .flags = read->flags});
    }
    return fail(Error::limit(
        fmt::format("thread {} has more than {} seccomp filters", stopped.tid(), kFiltersMax)));
}

Result<> check_seccomp(Pid pid, const std::vector<SeccompFilter>& filters) {
    for (const SeccompFilter& filter : filters) {
        const std::vector<sock_filter> program = instructions_of(filter);
        if (std::ranges::any_of(program, asks_a_supervisor)) {
            return fail(Error::unsupported(fmt::format(
                "process {} has a seccomp filter that asks a supervisor (SECCOMP_RET_USER_NOTIF), "
                "which is not carried",
                pid)));
        }
        for (const RemoteCall& call : kRemoteCalls) {
            if (Walk(program, call.number).only_harmless()) continue;
            return fail(Error::unsupported(fmt::format(
                "process {} has a seccomp filter that does not let it survive {}, which it must "
                "call to be carried: let the filter answer with an error number instead",
                pid, call.name)));
        }
    }
    return {};
}

bool survives(const std::vector<SeccompFilter>& filters, long call) {
    return std::ranges::all_of(filters, [call](const SeccompFilter& filter) {
        return Walk(instructions_of(filter), static_cast<std::uint32_t>(call)).only_harmless();
    });
}

Result<std::vector<SeccompFilter>> collect_seccomp(std::span<const trace::Tracee> stopped) {
    std::vector<SeccompFilter> filters = TRY(read_seccomp(stopped.front()));
    for (const trace::Tracee& thread : stopped.subspan(1)) {
        if (TRY(read_seccomp(thread)) == filters) continue;
        return fail(Error::unsupported(
            fmt::format("thread {} has other seccomp filters than thread {}, which is not carried",
                        thread.tid(), stopped.front().tid())));
    }
    if (filters.empty()) return filters;
    if (!stopped.front().suspends_seccomp()) {
        return fail(Error::unsupported(fmt::format(
            "process {} has seccomp filters, which cannot be suspended here: run Ferry with "
            "CAP_SYS_ADMIN and without filters of its own",
            stopped.front().process())));
    }
    TRY(check_seccomp(stopped.front().process(), filters));
    return filters;
}

}  // namespace ferry::resources
