#include "os/userfault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {
namespace {

// <linux/userfaultfd.h> of Linux 6.7; Debian 12's is older.
constexpr std::uint64_t kFeatureWpUnpopulated = 1u << 13;
constexpr std::uint64_t kFeatureWpAsync = 1u << 15;

static_assert(kUserfaultFlags == (UFFD_USER_MODE_ONLY | O_CLOEXEC));

Result<bool> write_protect(int userfault, AddrRange range, std::uint64_t mode) {
    uffdio_writeprotect request = {};
    request.range = {.start = range.start.value, .len = range.size()};
    request.mode = mode;
    int result = ::ioctl(userfault, UFFDIO_WRITEPROTECT, &request);
    while (result != 0 && (errno == EAGAIN || errno == EINTR)) {
        result = ::ioctl(userfault, UFFDIO_WRITEPROTECT, &request);
    }
    if (result == 0) return true;
    const int code = errno;
    if (code == ENOENT) return false;
    if (code == ESRCH) return fail(Error::gone("the address space is gone"));
    return fail(Error::system(code, fmt::format("ioctl(UFFDIO_WRITEPROTECT, {})", range)));
}

}  // namespace

Result<UniqueFd> userfaultfd(int flags) {
    const long fd = ::syscall(SYS_userfaultfd, flags);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    const int code = errno;
    if (code == ENOSYS) return fail(Error::unsupported("the kernel has no userfaultfd"));
    return fail(Error::system(code, fmt::format("userfaultfd({:#x})", flags)));
}

Result<> userfault_enable_async_protection(int userfault) {
    uffdio_api api = {};
    api.api = UFFD_API;
    api.features = kFeatureWpAsync | kFeatureWpUnpopulated;
    if (::ioctl(userfault, UFFDIO_API, &api) == 0) return {};
    const int code = errno;
    if (code == EINVAL) {
        return fail(Error::unsupported(
            "the kernel's userfaultfd has no asynchronous write-protection (Linux 6.7)"));
    }
    return fail(Error::system(code, "ioctl(UFFDIO_API)"));
}

Result<bool> userfault_register_protection(int userfault, AddrRange range) {
    uffdio_register request = {};
    request.range = {.start = range.start.value, .len = range.size()};
    request.mode = UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(userfault, UFFDIO_REGISTER, &request) == 0) return true;
    const int code = errno;
    // The kernel's words: EINVAL if no mapping begins before the range's end, ENOMEM if the address
    // space has no users left (or really no memory, which such a small request does not meet).
    if (code == EINVAL) return false;
    if (code == ENOMEM || code == ESRCH) return fail(Error::gone("the address space is gone"));
    return fail(Error::system(code, fmt::format("ioctl(UFFDIO_REGISTER, {})", range)));
}

Result<bool> userfault_unprotect(int userfault, AddrRange range) {
    return write_protect(userfault, range, 0);
}

Result<bool> userfault_protect(int userfault, AddrRange range) {
    return write_protect(userfault, range, UFFDIO_WRITEPROTECT_MODE_WP);
}

Result<> userfault_unregister(int userfault, AddrRange range) {
    uffdio_range request = {.start = range.start.value, .len = range.size()};
    if (::ioctl(userfault, UFFDIO_UNREGISTER, &request) == 0) return {};
    const int code = errno;
    if (code == EINVAL) return {};
    if (code == ENOMEM || code == ESRCH) return fail(Error::gone("the address space is gone"));
    return fail(Error::system(code, fmt::format("ioctl(UFFDIO_UNREGISTER, {})", range)));
}

}  // namespace ferry::os
