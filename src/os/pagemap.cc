#include "os/pagemap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {
namespace {

// struct pm_scan_arg of <linux/fs.h>, Linux 6.7.
struct PmScanArg {
    std::uint64_t size = sizeof(PmScanArg);
    std::uint64_t flags = 0;
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t walk_end = 0;
    std::uint64_t vec = 0;
    std::uint64_t vec_len = 0;
    std::uint64_t max_pages = 0;
    std::uint64_t category_inverted = 0;
    std::uint64_t category_mask = 0;
    std::uint64_t category_anyof_mask = 0;
    std::uint64_t return_mask = 0;
};
static_assert(sizeof(PmScanArg) == 96);
static_assert(sizeof(PageRegion) == 24);

constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
constexpr std::uint64_t kScanWpMatching = 1;  // PM_SCAN_WP_MATCHING

}  // namespace

Result<Pagemap> Pagemap::open(Pid pid) {
    Result<UniqueFd> fd = os::open(fmt::format("/proc/{}/pagemap", pid), O_RDONLY);
    if (fd) return Pagemap(std::move(*fd));
    const int code = fd.error().code();
    if (code == ENOENT || code == ESRCH) {
        return fail(Error::gone(fmt::format("process {} does not exist", pid)));
    }
    return fail(std::move(fd.error()));
}

Result<Pagemap> Pagemap::open_own() {
    return Pagemap(TRY(os::open("/proc/self/pagemap", O_RDONLY)));
}

Result<std::size_t> Pagemap::read(RemoteAddr start, std::span<PagemapEntry> into) const {
    const std::uint64_t offset = start.value / kPageSize * sizeof(PagemapEntry);
    const std::size_t bytes = TRY(pread(fd_.get(), std::as_writable_bytes(into), offset));
    return bytes / sizeof(PagemapEntry);
}

Result<PagemapScanReply> Pagemap::scan(const PagemapScanRequest& request,
                                       std::span<PageRegion> into) const {
    PmScanArg argument;
    argument.flags = request.protect_matching ? kScanWpMatching : 0;
    argument.start = request.range.start.value;
    argument.end = request.range.end.value;
    argument.vec = reinterpret_cast<std::uintptr_t>(into.data());
    argument.vec_len = into.size();
    argument.category_inverted = request.absent;
    argument.category_mask = request.all_of;
    argument.category_anyof_mask = request.any_of;
    argument.return_mask = request.return_mask;
    // Not os::ioctl, which repeats an interrupted call: this one has side effects that a repetition
    // would no longer report.
    const int regions = ::ioctl(fd_.get(), kPagemapScan, &argument);
    if (regions < 0) {
        const int code = errno;
        // The process, whom the descriptor does not name, has ended or executed something else.
        if (code == ESRCH) return fail(Error::gone("the address space has ended"));
        return fail(Error::system(code, fmt::format("ioctl(PAGEMAP_SCAN, {})", request.range)));
    }
    return PagemapScanReply{.regions = static_cast<std::size_t>(regions),
                            .walked_to = RemoteAddr{argument.walk_end}};
}

}  // namespace ferry::os
