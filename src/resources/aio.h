// Contexts of io_setup(2), of which a task sees a ring that is mapped ("/[aio]") at the address
// that names the context (kernel: fs/aio.c). The kernel shows no request that is under way: it is
// in neither the ring nor /proc. Those that the disk serves (O_DIRECT) hold the pages that they
// move pinned, which the kernel counts for the whole machine (nr_foll_pin_* in /proc/vmstat);
// others than those to the disk end in io_submit(2) itself. What nobody can see: IOCB_CMD_FSYNC,
// IOCB_CMD_FDSYNC and IOCB_CMD_POLL, and files that are served otherwise (FUSE).
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/types.h"
#include "model/process.h"
#include "trace/remote_calls.h"

namespace ferry::resources {

// How the path of the mapping begins in /proc/PID/maps.
inline constexpr std::string_view kAioRingName = "/[aio]";

// The kernel's struct aio_ring, without the events.
struct AioRingHeader {
    std::uint32_t id = 0;  // the kernel's own number of the context
    std::uint32_t events = 0, head = 0, tail = 0;
    std::uint32_t magic = 0, compatible = 0, incompatible = 0, header_bytes = 0;
};
static_assert(sizeof(AioRingHeader) == 32);

// Corrupt: no ring of this kernel's form, or `content` is not all of it.
Result<AioRingHeader> aio_ring_header(const model::Bytes& content);

// Whether the stopped task's process has a context at this address. A child that was forked has its
// parent's rings mapped, but not the contexts.
Result<bool> is_aio_context(trace::RemoteCalls& calls, RemoteAddr address);

// Of a process that stands still.
Result<model::AioRing> read_aio_ring(Pid pid, AddrRange range);

// True once there was a moment in which no page of this machine was pinned for a device. Then what
// was under way at the call, in whatever context, has moved its data. False: not within `timeout`.
Result<bool> await_no_transfers(std::chrono::milliseconds timeout);

}  // namespace ferry::resources
