#include "dump/direct_reads.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>

#include "base/limits.h"
#include "os/memory.h"
#include "proc/process_directory.h"
#include "proc/syscall.h"
#include "resources/aio.h"
#include "resources/fdinfo.h"
#include "trace/tracee.h"

namespace ferry::dump {
namespace {

constexpr std::uint64_t kVectorMax = 1024;  // UIO_MAXIOV

bool is_vanished(const Error& error) {
    return error.kind() == Error::Kind::Gone || error.code() == ENOENT || error.code() == ESRCH;
}

Result<bool> is_direct(const proc::ProcessDirectory& process, const std::string& fd) {
    const auto text = process.text("fdinfo/" + fd);
    // Closed meanwhile: whoever waits for it may have had it open with O_DIRECT.
    if (!text && is_vanished(text.error())) return true;
    if (!text) return fail(text.error());
    return (TRY(resources::parse_fdinfo(*text)).flags & O_DIRECT) != 0;
}

Result<bool> has_direct_file(const proc::ProcessDirectory& process) {
    for (const std::string& fd : TRY(os::list_directory(process.get(), "fdinfo"))) {
        const auto text = process.text("fdinfo/" + fd);
        if (!text) continue;  // closed meanwhile
        if ((TRY(resources::parse_fdinfo(*text)).flags & O_DIRECT) != 0) return true;
    }
    return false;
}

void add_bytes(std::uint64_t start, std::uint64_t bytes, pages::PageSet& into) {
    if (bytes == 0 || start + bytes < start) return;
    const RemoteAddr last{page_align_down(start + bytes - 1)};
    into.add(AddrRange{RemoteAddr{page_align_down(start)}, last + kPageSize});
}

// What the vector names; nothing if it is gone, then so is the call.
void add_vector(Pid pid, std::uint64_t address, std::uint64_t count, pages::PageSet& into) {
    std::vector<iovec> vector(std::min(count, kVectorMax));
    const iovec local = {.iov_base = vector.data(), .iov_len = vector.size() * sizeof(iovec)};
    const iovec remote = {.iov_base = reinterpret_cast<void*>(address), .iov_len = local.iov_len};
    const auto read = os::process_vm_readv(pid, std::span(&local, 1), std::span(&remote, 1));
    if (!read) return;
    vector.resize(*read / sizeof(iovec));
    for (const iovec& part : vector) {
        add_bytes(reinterpret_cast<std::uint64_t>(part.iov_base), part.iov_len, into);
    }
}

Result<> add_call(Pid pid, const proc::ProcessDirectory& process, const proc::Syscall& call,
                  pages::PageSet& into) {
    const bool plain = call.number == SYS_read || call.number == SYS_pread64;
    const bool vector =
        call.number == SYS_readv || call.number == SYS_preadv || call.number == SYS_preadv2;
    if (!plain && !vector) return {};
    const auto fd = static_cast<std::uint32_t>(call.arguments[0]);
    if (!TRY(is_direct(process, std::to_string(fd)))) return {};
    if (plain) add_bytes(call.arguments[1], call.arguments[2], into);
    if (vector) add_vector(pid, call.arguments[1], call.arguments[2], into);
    return {};
}

// Returns when the thread has been outside of every system call once.
Result<> leave_kernel(Pid pid, Tid tid) {
    trace::Tracee tracee = TRY(trace::Tracee::seize(pid, tid));
    TRY(tracee.stop());
    return std::move(tracee).detach();
}

// True: no transfer is under way any more while the process asks for none.
Result<bool> await_standing_still(Pid pid, const proc::ProcessDirectory& process,
                                  std::chrono::milliseconds timeout) {
    std::vector<trace::Tracee> stopped;
    for (const Tid tid : TRY(process.threads())) {
        auto tracee = trace::Tracee::seize(pid, tid);
        if (!tracee && is_vanished(tracee.error())) continue;
        trace::Tracee& thread = stopped.emplace_back(TRY(std::move(tracee)));
        if (const auto halted = thread.stop(); !halted && !is_vanished(halted.error())) {
            return fail(halted.error());
        }
    }
    const bool ended = TRY(resources::await_no_transfers(timeout));
    for (trace::Tracee& thread : stopped) TRY(std::move(thread).detach());
    return ended;
}

// Nobody can see where the requests of an aio context read to: waits until those that are under way
// have ended. If it is the process itself that always has some, it has to stand still for them; if
// it is others on this host, that is in vain, and they are waited for while it runs.
Result<> await_requests(Pid pid, const proc::ProcessDirectory& process) {
    constexpr std::chrono::milliseconds kGlance{2}, kStandstill{100}, kPatience{500};
    constexpr int kLooks = 10;
    if (TRY(resources::await_no_transfers(kGlance))) return {};
    for (int look = 0; look < kLooks; ++look) {
        if (TRY(await_standing_still(pid, process, kStandstill))) return {};
        if (TRY(resources::await_no_transfers(kPatience))) return {};
    }
    return fail(Error::unsupported(fmt::format(
        "process {} has an aio context, and pages on this host stay pinned for a device: whether "
        "its requests have ended cannot be told",
        pid)));
}

Result<pages::PageSet> look(Pid pid) {
    const auto process = TRY(proc::ProcessDirectory::open(pid));
    pages::PageSet under_way;
    if (TRY(process.maps_text()).contains(resources::kAioRingName)) {
        TRY(await_requests(pid, process));
    }
    std::optional<bool> direct;
    for (const Tid tid : TRY(process.threads())) {
        const auto text = process.text(fmt::format("task/{}/syscall", tid));
        if (!text && is_vanished(text.error())) continue;
        if (!text) return fail(text.error());
        const proc::Syscall call = TRY(proc::parse_syscall(*text));
        if (!call.is_running) {
            TRY(add_call(pid, process, call, under_way));
            continue;
        }
        if (!direct) direct = TRY(has_direct_file(process));
        if (!*direct) continue;
        const auto left = leave_kernel(pid, tid);
        if (!left && !is_vanished(left.error())) return fail(left.error());
    }
    return under_way;
}

}  // namespace

Result<pages::PageSet> direct_reads_under_way(Pid pid) {
    auto found = look(pid);
    if (!found && is_vanished(found.error())) return pages::PageSet();
    return found;
}

}  // namespace ferry::dump
