#include "restore/aio.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <vector>

#include "os/fd.h"
#include "resources/aio.h"

namespace ferry::restore {
namespace {

using resources::AioRingHeader;

// A quarter of the smallest ring: no more than what the kernel keeps ready on one processor.
constexpr std::uint32_t kBatch = 32;
// Calls in one program.
constexpr std::uint32_t kBatchesPerProgram = 32;
// Numbers above those that descriptors are received under.
constexpr int kNull = 24, kOtherNull = 25;

Result<AioRingHeader> header_at(const StubProcess& process, RemoteAddr address) {
    AioRingHeader header;
    TRY(os::pread_all(process.memory.get(), std::as_writable_bytes(std::span(&header, 1)),
                      address.value));
    return header;
}

// Writes that move nothing, each of which ends at once and moves the ring's tail on.
class Advance {
  public:
    Advance(StubProcess& process, RemoteAddr ring, int null) : process_(process), ring_(ring) {
        request_.aio_lio_opcode = IOCB_CMD_PWRITE;
        request_.aio_fildes = static_cast<std::uint32_t>(null);
    }

    // `take`: the events are read, so that the head follows.
    Result<> by(std::uint32_t events, bool take) {
        while (events > 0) {
            Program program;
            const Data request = program.add_value(request_);
            const Data list = program.add_value(std::array<std::uint64_t, kBatch>());
            for (std::uint32_t i = 0; i < kBatch; ++i) program.point(list, i * 8, request);
            const Data taken = program.add(std::vector<std::byte>(kBatch * sizeof(io_event)));
            for (std::uint32_t i = 0; i < kBatchesPerProgram && events > 0; ++i) {
                const std::uint32_t now = std::min(events, kBatch);
                program.call("io_submit", SYS_io_submit, {ring_, now, list}, exactly(now));
                if (take) {
                    program.call("io_getevents", SYS_io_getevents, {ring_, now, now, taken, 0},
                                 exactly(now));
                }
                events -= now;
            }
            TRY(process_.leader().run(program));
        }
        return {};
    }

  private:
    StubProcess& process_;
    RemoteAddr ring_;
    iocb request_ = {};
};

// A fresh context whose ring lies where it is wanted.
Result<> make_context(StubProcess& process, const model::AioRing& ring) {
    const std::uint64_t bytes = ring.content.size();
    Program setup;
    const Data context = setup.add_value(std::uint64_t{0});
    setup.call("io_setup", SYS_io_setup, {model::aio_requests(bytes), context});
    TRY(process.leader().run(setup));
    const RemoteAddr made{setup.value<std::uint64_t>(context)};
    const std::uint32_t wanted = TRY(resources::aio_ring_header(ring.content)).events;
    const std::uint32_t events = TRY(header_at(process, made)).events;
    if (events != wanted) {
        return fail(Error::unsupported(
            fmt::format("an aio context of {} events, which has {} on this host (processors)",
                        wanted, events)));
    }
    Program move;
    move.call("mremap", SYS_mremap,
              {made, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, ring.address},
              exactly(static_cast<std::int64_t>(ring.address)));
    return process.leader().run(move);
}

Result<> restore_ring(StubProcess& process, const model::AioRing& ring, int null) {
    TRY(make_context(process, ring));
    const AioRingHeader wanted = TRY(resources::aio_ring_header(ring.content));
    const RemoteAddr address{ring.address};
    Advance advance(process, address, null);
    TRY(advance.by(wanted.head, true));
    TRY(advance.by((wanted.tail + wanted.events - wanted.head) % wanted.events, false));
    TRY(os::pwrite_all(process.memory.get(), std::span(ring.content).subspan(sizeof(AioRingHeader)),
                       address.value + sizeof(AioRingHeader)));
    const AioRingHeader now = TRY(header_at(process, address));
    if (now.head == wanted.head && now.tail == wanted.tail) return {};
    return fail(Error::corrupt(fmt::format("the aio ring at {} is at {} to {} instead of {} to {}",
                                           address, now.head, now.tail, wanted.head, wanted.tail)));
}

}  // namespace

Result<> restore_aio(StubProcess& process, const model::Process& wanted) {
    const auto rings =
        std::ranges::count(wanted.address_space.vmas, model::VmaKind::AioRing, &model::Vma::kind);
    if (rings != std::ssize(wanted.aio_rings)) {
        return fail(Error::unsupported("an aio context whose ring the image does not hold"));
    }
    if (rings == 0) return {};
    StubThread& leader = process.leader();
    const int null = leader.socket_number() == kNull ? kOtherNull : kNull;
    const os::UniqueFd file = TRY(os::open("/dev/null", O_WRONLY));
    const int fd = file.get();
    Program open;
    const Receiver received(open, leader.socket_number(), 1);
    open.call("dup3", SYS_dup3, {received.fd(0), null, 0});
    open.call("close", SYS_close, {received.fd(0)});
    TRY(leader.run(open, std::span(&fd, 1)));
    for (const model::AioRing& ring : wanted.aio_rings) TRY(restore_ring(process, ring, null));
    Program close;
    close.call("close", SYS_close, {null});
    return leader.run(close);
}

}  // namespace ferry::restore
