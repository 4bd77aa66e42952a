#include "restore/stub.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>

#include "base/check.h"
#include "os/futex.h"
#include "os/socket.h"

namespace ferry::restore {
namespace {

// How often a wait looks whether the stub still lives. A dead stub ends the socket at once; this is
// for one that hangs in a ptrace stop because of a fault.
constexpr std::chrono::milliseconds kAliveInterval{100};
// A stub that ends itself or is killed takes no longer, unless it frees very much memory.
constexpr std::chrono::milliseconds kEndTimeout{30'000};

}  // namespace

StubThread::StubThread(Arena& arena, Pid process_here, Tid here, Tid tid, SlotRun slots,
                       os::UniqueFd socket)
    : arena_(arena),
      process_here_(process_here),
      here_(here),
      tid_(tid),
      slots_(slots),
      socket_(std::move(socket)) {}

StubThread::~StubThread() {
    arena_.release(slots_);
}

Result<> StubThread::seize() {
    tracee_ = TRY(trace::Tracee::seize(process_here_, here_, trace::OnTracerExit::Kill));
    return {};
}

Result<> StubThread::post(const Program& program, std::span<const int> fds) {
    abi::Slot& slot = arena_.slot(slots_);
    program.load(arena_.program_area(slots_), arena_.program_address(slots_));
    slot.program = arena_.program_address(slots_).value;
    slot.op_count = static_cast<std::uint32_t>(program.size());
    const std::uint32_t sequence = slot.doorbell + 1;
    std::atomic_ref(slot.doorbell).store(sequence, std::memory_order_release);
    if (!socket_) {
        os::futex_wake(&slot.doorbell);
        CHECK(fds.empty());
        return {};
    }
    TRY(os::send_with_fds(socket_.get(), std::as_bytes(std::span(&sequence, 1)), {}));
    while (!fds.empty()) {
        const auto group = fds.first(std::min(fds.size(), os::kScmFdsMax));
        TRY(os::send_with_fds(socket_.get(), std::as_bytes(std::span(&sequence, 1)), group));
        fds = fds.subspan(group.size());
    }
    return {};
}

Result<> StubThread::await(Program& program) {
    const abi::Slot& slot = arena_.slot(slots_);
    TRY(answers_by_futex_ || !socket_ ? await_futex(slot.doorbell) : await_message(slot.doorbell));
    program.collect(arena_.program_area(slots_));
    const std::uint32_t failed = slot.failed;
    if (failed == abi::kNoFailure) return {};
    CHECK(failed < program.size());
    const std::int64_t result = slot.failed_result;
    return fail(Error::system(
        result < 0 ? static_cast<int>(-result) : 0,
        fmt::format("task {} of process {}: {}{}", here_, process_here_, program.describe(failed),
                    result < 0 ? std::string() : fmt::format(" gave {}", result))));
}

Result<> StubThread::await_message(std::uint32_t sequence) {
    for (;;) {
        std::uint32_t answer = 0;
        auto received =
            os::receive_with_fds(socket_.get(), std::as_writable_bytes(std::span(&answer, 1)));
        if (!received && received.error().code() == EAGAIN) {
            TRY(check_alive());
            continue;
        }
        if (!received) return fail(std::move(received.error()));
        if (received->bytes == 0) {
            return fail(
                Error::gone(fmt::format("the stub of process {} has ended", process_here_)));
        }
        if (answer == sequence) return {};
    }
}

Result<> StubThread::await_futex(std::uint32_t sequence) {
    abi::Slot& slot = arena_.slot(slots_);
    for (;;) {
        const std::uint32_t answered =
            std::atomic_ref(slot.answered).load(std::memory_order_acquire);
        if (answered == sequence) return {};
        const auto before = std::chrono::steady_clock::now();
        os::futex_wait(&slot.answered, answered, kAliveInterval);
        if (std::chrono::steady_clock::now() - before >= kAliveInterval) TRY(check_alive());
    }
}

Result<> StubThread::check_alive() {
    if (!tracee_) return {};
    const auto stop = TRY(tracee_->poll());
    if (!stop) return {};
    return fail(Error::gone(fmt::format(
        "the stub of thread {} {} {}", tid_,
        stop->is_end() ? "has ended, signal" : "has stopped with signal", stop->signal)));
}

Result<> StubThread::run(Program& program, std::span<const int> fds) {
    TRY(post(program, fds));
    return await(program);
}

Result<> StubThread::run_if_full(Program& program) {
    if (program.bytes() < capacity() * 3 / 4) return {};
    return run_rest(program);
}

Result<> StubThread::run_rest(Program& program) {
    if (program.empty()) return {};
    TRY(run(program));
    program.clear();
    return {};
}

int StubThread::socket_number() const {
    return arena_.slot(slots_).socket;
}

void StubThread::set_socket_number(int number) {
    arena_.slot(slots_).next_socket = number;
    answers_by_futex_ = number < 0;
}

Result<> StubThread::end() {
    Program program;
    program.call("exit", SYS_exit, {0});
    TRY(post(program));
    const trace::Stop stop = TRY(tracee_->wait(kEndTimeout));
    if (!stop.is_end()) {
        return fail(Error::gone(fmt::format("the stub of thread {} does not end", tid_)));
    }
    tracee_->forget();
    return {};
}

Receiver::Receiver(Program& program, int socket_number, std::size_t count) {
    CHECK(count <= os::kScmFdsMax);
    const std::uint64_t control_bytes = CMSG_SPACE(sizeof(int) * count);
    const std::uint32_t message = 0;
    const Data message_data = program.add_value(message);
    const iovec part = {.iov_base = nullptr, .iov_len = sizeof(message)};
    const Data part_data = program.add_value(part);
    program.point(part_data, offsetof(iovec, iov_base), message_data);
    control_ = program.add(std::vector<std::byte>(control_bytes));
    msghdr header = {};
    header.msg_iovlen = 1;
    header.msg_controllen = control_bytes;
    const Data header_data = program.add_value(header);
    program.point(header_data, offsetof(msghdr, msg_iov), part_data);
    program.point(header_data, offsetof(msghdr, msg_control), control_);
    program.call("recvmsg", SYS_recvmsg, {socket_number, header_data, 0}, exactly(sizeof(message)));
}

Load32 Receiver::fd(std::size_t i) const {
    return Load32{Data{control_.offset + CMSG_LEN(0) + i * sizeof(int)}};
}

}  // namespace ferry::restore
