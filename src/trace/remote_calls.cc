#include "trace/remote_calls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "os/memory.h"
#include "proc/process_directory.h"

namespace ferry::trace {
namespace {

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::uint64_t kUserCodeSegment = 0x33;  // of 64-bit tasks (arch/x86 segment.h)
// Text is searched in pieces that overlap by more than the longest pattern.
constexpr std::uint64_t kSearchBytes = 1 << 20;
constexpr std::uint64_t kSearchOverlap = 16;
// offsetof(struct rseq, rseq_cs)
constexpr std::uint64_t kRseqSectionOffset = 8;

// A chain of this many takes 12 KiB of stack.
constexpr std::size_t kChainCallsMax = 24;
// Ignored unless the task has a handler (signal(7)); SIGCONT would have side effects.
constexpr std::uint64_t kIgnoredByDefault =
    1ull << (SIGWINCH - 1) | 1ull << (SIGURG - 1) | 1ull << (SIGCHLD - 1);
// Realtime signals queue, SIGKILL and SIGSTOP cannot be ignored; only these are considered.
constexpr std::uint64_t kOrdinarySignals = (1ull << 31) - 1;

// How much could be read, from the start.
std::size_t read_some(Pid process, RemoteAddr from, std::span<std::byte> into) {
    const iovec local = {.iov_base = into.data(), .iov_len = into.size()};
    const iovec remote = {.iov_base = reinterpret_cast<void*>(from.value),  // NOLINT
                          .iov_len = into.size()};
    const auto n = os::process_vm_readv(process, std::span(&local, 1), std::span(&remote, 1));
    return n ? *n : 0;
}

bool is_enough(const arch::Gadgets& found) {
    return found.complete() && found.can_store() && found.can_load();
}

void search_mapping(Pid process, AddrRange range, std::vector<std::byte>& buffer,
                    arch::Gadgets& found) {
    for (RemoteAddr at = range.start; at < range.end && !is_enough(found);
         at = at + (kSearchBytes - kSearchOverlap)) {
        const std::size_t size = std::min(kSearchBytes, range.end - at);
        const std::size_t n = read_some(process, at, std::span(buffer).first(size));
        arch::find_gadgets(std::span(buffer).first(n), at.value, found);
        if (size < kSearchBytes) return;
    }
}

// In the order of the search. The C library is small and nearly always has everything, while the
// text of others may be fifty times as much.
enum class Place { Libc, OtherFile, Vdso, Nowhere };

Place place_of(const proc::MapsEntry& entry) {
    if (entry.path == "[vdso]") return Place::Vdso;
    if (!entry.has_file()) return Place::Nowhere;
    return entry.path.find("/libc.so") != std::string::npos ||
                   entry.path.find("/ld-musl") != std::string::npos
               ? Place::Libc
               : Place::OtherFile;
}

bool is_executable(const proc::MapsEntry& entry) {
    return (entry.protection & (PROT_READ | PROT_EXEC)) == (PROT_READ | PROT_EXEC);
}

bool has_gadgets(Pid process, const std::vector<proc::MapsEntry>& maps,
                 const arch::Gadgets& wanted) {
    constexpr std::size_t kGadgetBytesMax = 16;
    arch::Gadgets found;
    for (const std::uint64_t address :
         {wanted.call, wanted.sigreturn, wanted.pop_rax, wanted.store_rsi, wanted.store_rdx,
          wanted.pop_rdi, wanted.pop_rsi}) {
        const auto at = std::ranges::find_if(maps, [address](const proc::MapsEntry& entry) {
            return entry.has_file() && is_executable(entry) &&
                   entry.range.contains(RemoteAddr{address});
        });
        if (at == maps.end()) continue;
        std::array<std::byte, kGadgetBytesMax> bytes;
        const std::size_t n = read_some(process, RemoteAddr{address}, bytes);
        arch::find_gadgets(std::span(bytes).first(n), address, found);
    }
    return found == wanted;
}

}  // namespace

Result<arch::Gadgets> find_gadgets(Pid process, const arch::Gadgets& of_relative) {
    auto directory = TRY(proc::ProcessDirectory::open(process));
    const std::vector<proc::MapsEntry> maps = TRY(directory.maps());
    if (is_enough(of_relative) && has_gadgets(process, maps, of_relative)) return of_relative;
    std::vector<std::byte> buffer(kSearchBytes);
    arch::Gadgets found;
    for (const Place place : {Place::Libc, Place::OtherFile, Place::Vdso}) {
        for (const proc::MapsEntry& entry : maps) {
            if (is_executable(entry) && place_of(entry) == place) {
                search_mapping(process, entry.range, buffer, found);
            }
            if (is_enough(found)) return found;
        }
    }
    if (found.complete()) return found;
    return fail(Error::unsupported(fmt::format(
        "the text of process {} holds no system call instruction that Ferry could use", process)));
}

Result<arch::Registers> registers_outside_section(const Tracee& stopped) {
    const arch::Registers registers = TRY(stopped.registers());
    if (static_cast<long>(registers.raw.orig_rax) >= 0) return registers;  // Inside the kernel.
    const os::RseqConfiguration rseq = TRY(stopped.rseq());
    if (rseq.address == 0) return registers;
    std::uint64_t section_address = 0;
    std::array<std::byte, arch::RestartableSection::kBytes> bytes;
    // An unreadable area is the task's own trouble: the kernel will send SIGSEGV when it goes on.
    if (read_some(stopped.process(), RemoteAddr{rseq.address + kRseqSectionOffset},
                  std::as_writable_bytes(std::span(&section_address, 1))) !=
            sizeof(section_address) ||
        section_address == 0 ||
        read_some(stopped.process(), RemoteAddr{section_address}, bytes) != bytes.size()) {
        return registers;
    }
    return arch::leave_section(registers, arch::RestartableSection::decode(bytes));
}

Result<arch::Registers> registers_to_start_with(const Tracee& stopped) {
    const arch::Registers registers = TRY(registers_outside_section(stopped));
    if (!arch::in_remembered_call(registers)) return arch::resolve_restart(registers);
    std::array<std::byte, arch::kCallTextBytes> text;
    const RemoteAddr before{registers.raw.rip - text.size()};
    const bool is_known = read_some(stopped.process(), before, text) == text.size();
    return arch::resolve_restart(
        registers, is_known ? std::span<const std::byte>(text) : std::span<const std::byte>());
}

RemoteCalls::RemoteCalls(RemoteCalls&& other) noexcept
    : tracee_(std::exchange(other.tracee_, nullptr)),
      gadgets_(other.gadgets_),
      memory_(std::move(other.memory_)),
      home_(other.home_),
      mask_(other.mask_),
      stack_(std::move(other.stack_)),
      overwritten_(std::move(other.overwritten_)),
      lowest_(other.lowest_),
      rest_(std::move(other.rest_)),
      awaited_(other.awaited_),
      entered_(other.entered_),
      in_signal_path_(other.in_signal_path_) {}

RemoteCalls::~RemoteCalls() {
    if (tracee_ == nullptr) return;
    if (auto back = std::move(*this).give_back(); !back) {
        log_debug("{}, ignoring: the thread has ended or walks home by its frame",
                  back.error().message());
    }
}

Result<RemoteCalls> RemoteCalls::borrow(Tracee& stopped, const arch::Gadgets& gadgets,
                                        const StackPlace& place) {
    CHECK(stopped.is_stopped());
    RemoteCalls calls(stopped, gadgets);
    // Until something is written there is nothing to give back.
    Tracee* tracee = std::exchange(calls.tracee_, nullptr);
    calls.home_ = TRY(registers_outside_section(stopped));
    if (calls.home_.raw.cs != kUserCodeSegment) {
        return fail(Error::unsupported(fmt::format("thread {} runs 32-bit code", stopped.tid())));
    }
    calls.mask_ = TRY(stopped.signal_mask());
    const arch::XState xstate = TRY(stopped.xstate());
    auto stack = arch::borrow_stack(arch::resolve_restart(calls.home_), xstate, calls.mask_,
                                    gadgets, place.top);
    if (!stack) {
        return fail(Error::unsupported(
            fmt::format("thread {} has no XSAVE area of the known form", stopped.tid())));
    }
    calls.stack_ = std::move(*stack);
    calls.memory_ = TRY(os::open(fmt::format("/proc/{}/mem", stopped.process()), O_RDWR));
    calls.lowest_ = calls.stack_.end();
    if (auto kept = calls.keep_from(calls.stack_.address); !kept) {
        return fail(Error::unsupported(
            fmt::format("the stack of thread {} has no room for a signal frame ({})", stopped.tid(),
                        kept.error().message())));
    }
    calls.tracee_ = tracee;
    TRY(os::pwrite_all(calls.memory_.get(), calls.stack_.bytes, calls.stack_.address));
    return calls;
}

// Remembers the stack's bytes from `address` on, so that they can be put back.
Result<> RemoteCalls::keep_from(std::uint64_t address) {
    if (address >= lowest_) return {};
    std::vector<std::byte> kept(lowest_ - address);
    TRY(os::pread_all(memory_.get(), kept, address));
    kept.insert(kept.end(), overwritten_.begin(), overwritten_.end());
    overwritten_ = std::move(kept);
    lowest_ = address;
    return {};
}

Result<> RemoteCalls::enter(const arch::Registers& registers) {
    TRY(tracee_->set_registers(registers));
    if (entered_) return {};
    entered_ = true;
    return tracee_->set_signal_mask(kAllSignals);
}

// Lets the thread run to the next entry to or exit from a system call.
Result<> RemoteCalls::run_to_call_stop() {
    for (;;) {
        TRY(tracee_->resume_to_syscall());
        const Stop stop = TRY(tracee_->wait());
        switch (stop.kind) {
            case Stop::Kind::Syscall:
                return {};
            case Stop::Kind::Interrupt:
            case Stop::Kind::Group:
            case Stop::Kind::Event:
                continue;  // Somebody sent SIGSTOP or SIGCONT, which no mask blocks.
            case Stop::Kind::Exited:
            case Stop::Kind::Killed:
                return fail(Error::gone(fmt::format("thread {} has ended", tracee_->tid())));
            case Stop::Kind::Signal:
                if (stop.signal == SIGSTOP) continue;
                // With every signal blocked only a fault of the gadget itself gets here.
                tracee_->drop_signal();
                return fail(Error::unsupported(
                    fmt::format("a system call in thread {} faulted with signal {}", tracee_->tid(),
                                stop.signal)));
        }
    }
}

Result<long> RemoteCalls::call(long number, std::initializer_list<std::uint64_t> arguments) {
    CHECK(tracee_ != nullptr);
    CHECK(arguments.size() <= 6);
    std::array<std::uint64_t, 6> all = {};
    std::ranges::copy(arguments, all.begin());
    TRY(enter(arch::call_registers(home_, stack_.stack_pointer, gadgets_,
                                   {.number = number, .arguments = all})));
    TRY(run_to_call_stop());  // Entry.
    TRY(run_to_call_stop());  // Exit.
    in_signal_path_ = false;
    const long result = arch::call_result(TRY(tracee_->registers()));
    if (result < 0 && result >= -4095) {
        return fail(
            Error::system(static_cast<int>(-result),
                          fmt::format("system call {} in thread {}", number, tracee_->tid())));
    }
    return result;
}

// A signal that the thread can be sent without anybody noticing, even if we die at once: ignored,
// without handler, and not pending already (it would be lost when ours is dropped).
Result<RemoteCalls::OwnSignal> RemoteCalls::meaningless_signal() const {
    auto directory = TRY(proc::ProcessDirectory::open_thread(tracee_->process(), tracee_->tid()));
    const proc::Status status = TRY(directory.status());
    const std::uint64_t ignored = (status.ignored | kIgnoredByDefault) & ~status.caught;
    const std::uint64_t usable =
        ignored & ~status.pending_thread & ~status.pending_process & kOrdinarySignals;
    OwnSignal own;
    own.number = static_cast<int>(std::bit_width(usable));
    // As the thread itself calls the two, in whatever pid namespace it is.
    own.process = status.ns_pids.empty() ? tracee_->process().value : status.ns_pids.back();
    own.thread = status.ns_tids.empty() ? tracee_->tid().value : status.ns_tids.back();
    return own;
}

Result<> RemoteCalls::await_signal(int signal) {
    for (;;) {
        const Stop stop = TRY(tracee_->wait());
        if (stop.is_end()) {
            return fail(Error::gone(fmt::format("thread {} has ended", tracee_->tid())));
        }
        if (stop.kind == Stop::Kind::Signal && stop.signal == signal) {
            tracee_->drop_signal();
            // Or it is somebody else's, which means as little.
            if (TRY(tracee_->registers()).raw.rsp == stack_.stack_pointer) return {};
        }
        if (stop.kind == Stop::Kind::Signal && stop.signal != SIGSTOP && stop.signal != signal) {
            tracee_->drop_signal();
            return fail(Error::unsupported(fmt::format(
                "system calls in thread {} faulted with signal {}", tracee_->tid(), stop.signal)));
        }
        TRY(tracee_->resume());
    }
}

Result<> RemoteCalls::start_chain(std::span<const arch::Call> calls) {
    const OwnSignal own = TRY(meaningless_signal());
    const int signal = own.number;
    if (signal == 0) return run_one_by_one(calls);
    const std::uint64_t all_others = kAllSignals & ~(1ull << (signal - 1));
    const bool remembers = arch::in_remembered_call(home_);
    std::vector<arch::Call> all(calls.begin(), calls.end());
    const auto thread = static_cast<std::uint64_t>(own.thread);
    const auto sent = static_cast<std::uint64_t>(signal);
    std::optional<arch::CallChain> chain;
    if (remembers) {
        all.push_back({.number = SYS_tkill, .arguments = {thread, sent}});
        chain = arch::load_calls(stack_, gadgets_, all);
    } else {
        all.push_back({.number = SYS_tgkill,
                       .arguments = {static_cast<std::uint64_t>(own.process), thread, sent}});
        chain = arch::chain_calls(home_, stack_, gadgets_, all, kAllSignals, all_others);
    }
    // A small stack has room for one frame but not for many.
    if (!chain || !keep_from(chain->address)) return run_one_by_one(calls);
    TRY(os::pwrite_all(memory_.get(), chain->bytes, chain->address));
    TRY(enter(arch::call_registers(home_, chain->stack_pointer, gadgets_, all.front())));
    // Else the last frame lets it through.
    if (remembers) TRY(tracee_->set_signal_mask(all_others));
    in_signal_path_ = false;
    TRY(tracee_->resume());
    awaited_ = signal;
    return {};
}

Result<> RemoteCalls::run_one_by_one(std::span<const arch::Call> calls) {
    for (const arch::Call& one : calls) {
        const auto& a = one.arguments;
        const long result = TRY(call(one.number, {a[0], a[1], a[2], a[3], a[4], a[5]}));
        if (one.result == 0) continue;
        TRY(write_scratch(std::as_bytes(std::span(&result, 1)), one.result - stack_.scratch));
    }
    return {};
}

Result<> RemoteCalls::start(std::span<const arch::Call> calls) {
    CHECK(tracee_ != nullptr);
    CHECK(awaited_ == 0);
    if (calls.empty()) return {};
    if (!gadgets_.can_store()) return run_one_by_one(calls);
    const auto some = calls.first(std::min(calls.size(), kChainCallsMax));
    const auto rest = calls.subspan(some.size());
    rest_.assign(rest.begin(), rest.end());
    return start_chain(some);
}

Result<> RemoteCalls::finish() {
    for (;;) {
        if (awaited_ != 0) {
            TRY(await_signal(awaited_));
            awaited_ = 0;
            TRY(tracee_->set_signal_mask(kAllSignals));
            in_signal_path_ = true;
        }
        if (rest_.empty()) return {};
        const std::vector<arch::Call> rest = std::exchange(rest_, {});
        TRY(start(rest));
    }
}

RemoteAddr RemoteCalls::scratch(std::size_t offset) const {
    CHECK(offset < arch::BorrowedStack::kScratchBytes);
    return RemoteAddr{stack_.scratch + offset};
}

Result<> RemoteCalls::write_scratch(std::span<const std::byte> bytes, std::size_t offset) {
    CHECK(offset + bytes.size() <= arch::BorrowedStack::kScratchBytes);
    return os::pwrite_all(memory_.get(), bytes, stack_.scratch + offset);
}

Result<> RemoteCalls::read_scratch(std::span<std::byte> bytes, std::size_t offset) {
    CHECK(offset + bytes.size() <= arch::BorrowedStack::kScratchBytes);
    return os::pread_all(memory_.get(), bytes, stack_.scratch + offset);
}

// A thread that came out of a call stop with its old registers would show its old -ERESTART code to
// userspace, because only the kernel's signal path looks at it. So first reach an interrupt stop,
// which lies in that path, and only there put the registers back.
Result<> RemoteCalls::walk_home() {
    if (!tracee_->is_stopped()) {
        TRY(tracee_->stop());
    } else if (!in_signal_path_) {
        TRY(tracee_->interrupt());
        TRY(tracee_->resume());
        TRY(tracee_->await_stop());
    }
    if (entered_) TRY(tracee_->set_signal_mask(mask_));
    TRY(tracee_->set_registers(home_));
    return os::pwrite_all(memory_.get(), overwritten_, lowest_);
}

Result<> RemoteCalls::give_back() && {
    if (tracee_ == nullptr) return {};
    auto result = walk_home();
    tracee_ = nullptr;
    return result;
}

}  // namespace ferry::trace
