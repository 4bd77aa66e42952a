#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "features/probes.h"
#include "os/fd.h"
#include "os/memory.h"
#include "os/pagemap.h"
#include "os/raw_syscall.h"
#include "os/userfault.h"

namespace ferry::features {
namespace {

// linux/userfaultfd.h and mman.h of newer kernels than the ones that distributions build against.
constexpr int kMadvGuardInstall = 102;               // Linux 6.13
constexpr unsigned long kProcmapQuery = 0xc0686611;  // PROCMAP_QUERY, Linux 6.11
constexpr std::size_t kProcmapQueryBytes = 104;
constexpr int kMapDroppable = 0x08;  // Linux 6.11

Result<os::Mapping> one_page() {
    auto page =
        TRY(os::Mapping::map(kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
    std::memset(page.data(), 1, page.size());
    return page;
}

AddrRange range_of(const os::Mapping& mapping) {
    const RemoteAddr start{reinterpret_cast<std::uint64_t>(mapping.data())};
    return {start, start + mapping.size()};
}

Result<> userfault_with(std::uint64_t features) {
    const auto fd = TRY(os::userfaultfd());
    uffdio_api api = {};
    api.api = UFFD_API;
    api.features = features;
    TRY(os::ioctl(fd.get(), UFFDIO_API, &api));
    return {};
}

Result<> userfault() {
    return userfault_with(0);
}

Result<> userfault_noncooperative() {
    // UFFD_FEATURE_EVENT_FORK needs a descriptor without UFFD_USER_MODE_ONLY.
    const os::UniqueFd fd(static_cast<int>(
        TRY(os::raw_syscall("userfaultfd()", SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))));
    uffdio_api api = {};
    api.api = UFFD_API;
    api.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP |
                   UFFD_FEATURE_EVENT_REMOVE;
    TRY(os::ioctl(fd.get(), UFFDIO_API, &api));
    return {};
}

Result<> asynchronous_protection() {
    const auto page = TRY(one_page());
    const auto fd = TRY(os::userfaultfd());
    TRY(os::userfault_enable_async_protection(fd.get()));
    TRY(os::userfault_register_protection(fd.get(), range_of(page)));
    // Protect and scan in one call, write, and see it reported.
    const auto pagemap = TRY(os::Pagemap::open_own());
    std::array<os::PageRegion, 4> regions;
    const os::PagemapScanRequest request = {.range = range_of(page),
                                            .protect_matching = true,
                                            .all_of = os::page_is::kWritten,
                                            .return_mask = os::page_is::kWritten};
    TRY(pagemap.scan(request, regions));
    if (TRY(pagemap.scan(request, regions)).regions != 0) {
        return missing("PAGEMAP_SCAN does not protect");
    }
    *page.data() = std::byte{2};
    if (TRY(pagemap.scan(request, regions)).regions != 1) {
        return missing("PAGEMAP_SCAN does not see a write");
    }
    return {};
}

Result<> pagemap_scan() {
    const auto page = TRY(one_page());
    const auto pagemap = TRY(os::Pagemap::open_own());
    std::array<os::PageRegion, 4> regions;
    return succeeded(pagemap.scan({.range = range_of(page),
                                   .all_of = os::page_is::kPresent,
                                   .return_mask = os::page_is::kPresent},
                                  regions));
}

Result<> guard_install() {
    const auto page = TRY(one_page());
    TRY(os::raw_syscall("madvise(MADV_GUARD_INSTALL)", SYS_madvise, page.data(), page.size(),
                        kMadvGuardInstall));
    return {};
}

Result<> pagemap_scan_guards() {
    const auto page = TRY(one_page());
    TRY(os::raw_syscall("madvise(MADV_GUARD_INSTALL)", SYS_madvise, page.data(), page.size(),
                        kMadvGuardInstall));
    const auto pagemap = TRY(os::Pagemap::open_own());
    std::array<os::PageRegion, 4> regions;
    const auto reply = TRY(pagemap.scan({.range = range_of(page),
                                         .all_of = os::page_is::kGuard,
                                         .return_mask = os::page_is::kGuard},
                                        regions));
    if (reply.regions != 1) return missing("PAGEMAP_SCAN does not report a guard page");
    return {};
}

Result<> soft_dirty() {
    // A page that has just been written is soft-dirty, unless the kernel was built without it.
    const auto page = TRY(one_page());
    const auto pagemap = TRY(os::Pagemap::open_own());
    std::array<os::PagemapEntry, 1> entry;
    if (TRY(pagemap.read(range_of(page).start, entry)) == 1 && entry[0].soft_dirty()) return {};
    return missing("CONFIG_MEM_SOFT_DIRTY is not set");
}

Result<> memory_tracking() {
    auto modern = asynchronous_protection();
    if (modern || soft_dirty()) return {};
    return modern;
}

Result<> set_mm_map() {
    unsigned size = 0;
    TRY(os::raw_syscall("prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE)", SYS_prctl, PR_SET_MM,
                        PR_SET_MM_MAP_SIZE, &size, 0, 0));
    return {};
}

Result<> process_vm_readv() {
    char from = 1;
    char to = 0;
    const iovec local = {&to, 1};
    const iovec remote = {&from, 1};
    TRY(os::process_vm_readv(Pid{::getpid()}, std::span(&local, 1), std::span(&remote, 1)));
    return {};
}

Result<> procmap_query() {
    const auto maps = TRY(os::open("/proc/self/maps", O_RDONLY));
    // struct procmap_query: its size, flags, and the address to look for; the rest is filled in.
    std::array<std::uint64_t, kProcmapQueryBytes / sizeof(std::uint64_t)> query{};
    query[0] = kProcmapQueryBytes;
    query[2] = reinterpret_cast<std::uint64_t>(&query);
    TRY(os::ioctl(maps.get(), kProcmapQuery, query.data()));
    return {};
}

Result<> map_files() {
    const auto names = TRY(os::list_directory(os::kCwd, "/proc/self/map_files"));
    if (names.empty()) return missing("/proc/self/map_files is empty");
    return succeeded(os::open("/proc/self/map_files/" + names.front(), O_RDONLY));
}

Result<> hugetlb_memfd() {
    return succeeded(os::memfd_create("ferry-probe", MFD_HUGETLB));
}

Result<> droppable() {
    return succeeded(
        os::Mapping::map(kPageSize, PROT_READ | PROT_WRITE, kMapDroppable | MAP_ANONYMOUS));
}

constexpr Probe kProbes[] = {
    {"uffd_wp_async", "track written pages while the service runs (Linux 6.7)", Need::Live,
     asynchronous_protection},
    {"pagemap_scan", "find the pages that exist and the ones that were written", Need::Live,
     pagemap_scan},
    {"mem_dirty_track", "pre-dump: any way of tracking written pages", Need::Some, memory_tracking},
    {"soft_dirty", "track written pages where userfaultfd cannot", Need::Some, soft_dirty},
    {"uffd", "userfaultfd", Need::Some, userfault},
    {"uffd-noncoop", "userfaultfd with events of fork, mremap and munmap", Need::Some,
     userfault_noncooperative},
    {"process_vm_readv", "read memory from outside", Need::Always, process_vm_readv},
    {"pr_set_mm_map", "restore the marks of an address space (brk, stack, arguments)", Need::Always,
     set_mm_map},
    {"map_files", "the files behind mappings, also deleted ones", Need::Always, map_files},
    {"procmap_query", "look up single mappings quickly (Linux 6.11)", Need::Some, procmap_query},
    {"guard_pages", "restore lightweight guard pages (Linux 6.13)", Need::Some, guard_install},
    {"pagemap_scan_guard_pages", "find lightweight guard pages (Linux 6.15)", Need::Some,
     pagemap_scan_guards},
    {"map_droppable", "restore droppable mappings (Linux 6.11)", Need::Some, droppable},
    {"memfd_hugetlb", "memory files of huge pages", Need::Some, hugetlb_memfd},
};

}  // namespace

std::span<const Probe> memory_probes() {
    return kProbes;
}

}  // namespace ferry::features
