#include "trace/remote_calls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
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

// How much could be read, from the start.
std::size_t read_some(Pid process, RemoteAddr from, std::span<std::byte> into) {
    const iovec local = {.iov_base = into.data(), .iov_len = into.size()};
    const iovec remote = {.iov_base = reinterpret_cast<void*>(from.value),  // NOLINT
                          .iov_len = into.size()};
    const auto n = os::process_vm_readv(process, std::span(&local, 1), std::span(&remote, 1));
    return n ? *n : 0;
}

void search_mapping(Pid process, AddrRange range, std::vector<std::byte>& buffer,
                    arch::Gadgets& found) {
    for (RemoteAddr at = range.start; at < range.end && !found.complete();
         at = at + (kSearchBytes - kSearchOverlap)) {
        const std::size_t size = std::min(kSearchBytes, range.end - at);
        const std::size_t n = read_some(process, at, std::span(buffer).first(size));
        arch::find_gadgets(std::span(buffer).first(n), at.value, found);
        if (size < kSearchBytes) return;
    }
}

}  // namespace

Result<arch::Gadgets> find_gadgets(Pid process) {
    auto directory = TRY(proc::ProcessDirectory::open(process));
    const std::vector<proc::MapsEntry> maps = TRY(directory.maps());
    std::vector<std::byte> buffer(kSearchBytes);
    arch::Gadgets found;
    for (const bool files : {true, false}) {
        for (const proc::MapsEntry& entry : maps) {
            const bool executable =
                (entry.protection & (PROT_READ | PROT_EXEC)) == (PROT_READ | PROT_EXEC);
            const bool wanted = files ? entry.has_file() : entry.path == "[vdso]";
            if (executable && wanted) search_mapping(process, entry.range, buffer, found);
            if (found.complete()) return found;
        }
    }
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

RemoteCalls::RemoteCalls(RemoteCalls&& other) noexcept
    : tracee_(std::exchange(other.tracee_, nullptr)),
      gadgets_(other.gadgets_),
      memory_(std::move(other.memory_)),
      home_(other.home_),
      mask_(other.mask_),
      stack_(std::move(other.stack_)),
      overwritten_(std::move(other.overwritten_)),
      entered_(other.entered_) {}

RemoteCalls::~RemoteCalls() {
    if (tracee_ == nullptr) return;
    if (auto back = std::move(*this).give_back(); !back) {
        log_debug("{}, ignoring: the thread has ended or walks home by its frame",
                  back.error().message());
    }
}

Result<RemoteCalls> RemoteCalls::borrow(Tracee& stopped, const arch::Gadgets& gadgets) {
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
    auto stack =
        arch::borrow_stack(arch::resolve_restart(calls.home_), xstate, calls.mask_, gadgets);
    if (!stack) {
        return fail(Error::unsupported(
            fmt::format("thread {} has no XSAVE area of the known form", stopped.tid())));
    }
    calls.stack_ = std::move(*stack);
    calls.memory_ = TRY(os::open(fmt::format("/proc/{}/mem", stopped.process()), O_RDWR));
    calls.overwritten_.resize(calls.stack_.end() - calls.stack_.address);
    const auto address = calls.stack_.address;
    if (auto kept = os::pread_all(calls.memory_.get(), calls.overwritten_, address); !kept) {
        return fail(Error::unsupported(
            fmt::format("the stack of thread {} has no room for a signal frame ({})", stopped.tid(),
                        kept.error().message())));
    }
    calls.tracee_ = tracee;
    TRY(os::pwrite_all(calls.memory_.get(), calls.stack_.bytes, address));
    return calls;
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
    TRY(enter(arch::call_registers(home_, stack_, gadgets_, number, all)));
    TRY(run_to_call_stop());  // Entry.
    TRY(run_to_call_stop());  // Exit.
    const long result = arch::call_result(TRY(tracee_->registers()));
    if (result < 0 && result >= -4095) {
        return fail(
            Error::system(static_cast<int>(-result),
                          fmt::format("system call {} in thread {}", number, tracee_->tid())));
    }
    return result;
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
    if (entered_) {
        if (!tracee_->is_stopped()) {
            TRY(tracee_->stop());
        } else {
            TRY(tracee_->interrupt());
            TRY(tracee_->resume());
            TRY(tracee_->await_stop());
        }
        TRY(tracee_->set_signal_mask(mask_));
    }
    TRY(tracee_->set_registers(home_));
    return os::pwrite_all(memory_.get(), overwritten_, stack_.address);
}

Result<> RemoteCalls::give_back() && {
    if (tracee_ == nullptr) return {};
    auto result = walk_home();
    tracee_ = nullptr;
    return result;
}

}  // namespace ferry::trace
