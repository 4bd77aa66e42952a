#include "resources/aio.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <thread>

#include "os/fd.h"

namespace ferry::resources {
namespace {

constexpr std::uint32_t kMagic = 0xa10a10a1, kCompatible = 1, kIncompatible = 0;
constexpr std::size_t kEventBytes = 32;  // struct io_event
constexpr std::chrono::microseconds kPause{100};

Result<std::uint64_t> figure(std::string_view text, std::string_view name) {
    const std::size_t line = text.find(name);
    std::uint64_t value = 0;
    if (line != std::string_view::npos) {
        text.remove_prefix(line + name.size());
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
        if (parsed.ec == std::errc()) return value;
    }
    return fail(Error::unsupported(fmt::format(
        "/proc/vmstat without {}: aio contexts need Linux 5.7", name.substr(0, name.size() - 1))));
}

// Pages that are pinned now, on the whole machine.
Result<std::uint64_t> pinned_pages() {
    // Each processor counts for itself, and adds up once a second, or when this is read.
    TRY(os::read_file("/proc/sys/vm/stat_refresh"));
    const std::string text = TRY(os::read_file("/proc/vmstat"));
    return TRY(figure(text, "nr_foll_pin_acquired ")) - TRY(figure(text, "nr_foll_pin_released "));
}

}  // namespace

Result<AioRingHeader> aio_ring_header(const model::Bytes& content) {
    AioRingHeader header;
    if (content.size() < sizeof(header)) return fail(Error::corrupt("an aio ring without header"));
    std::memcpy(&header, content.data(), sizeof(header));
    const bool is_known = header.magic == kMagic && header.compatible == kCompatible &&
                          header.incompatible == kIncompatible &&
                          header.header_bytes == sizeof(header) &&
                          header.events == (content.size() - sizeof(header)) / kEventBytes;
    // What is written there by the task is its own.
    if (is_known && header.head < header.events && header.tail < header.events) return header;
    return fail(Error::corrupt(fmt::format("an aio ring of {} events, at {} to {}, magic {:#x}",
                                           header.events, header.head, header.tail, header.magic)));
}

Result<bool> is_aio_context(trace::RemoteCalls& calls, RemoteAddr address) {
    const auto none = calls.call(SYS_io_submit, {address.value, 0, 0});
    if (!none && none.error().code() == EINVAL) return false;
    if (!none) return fail(none.error());
    return true;
}

Result<model::AioRing> read_aio_ring(Pid pid, AddrRange range) {
    model::AioRing ring = {.address = range.start.value, .content = model::Bytes(range.size())};
    const os::UniqueFd memory = TRY(os::open(fmt::format("/proc/{}/mem", pid), O_RDONLY));
    TRY(os::pread_all(memory.get(), ring.content, range.start.value));
    TRY(with_context(aio_ring_header(ring.content), fmt::format("process {}", pid)));
    return ring;
}

Result<bool> await_no_transfers(std::chrono::milliseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (TRY(pinned_pages()) != 0) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(kPause);
    }
    return true;
}

}  // namespace ferry::resources
