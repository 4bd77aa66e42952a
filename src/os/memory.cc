#include "os/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>

#include "base/check.h"

namespace ferry::os {

Mapping::~Mapping() {
    if (data_ != nullptr) CHECK(::munmap(data_, size_) == 0);
}

Result<Mapping> Mapping::map(std::size_t size, int protection, int flags, int fd,
                             std::uint64_t offset) {
    void* data = ::mmap(nullptr, size, protection, flags, fd, static_cast<off_t>(offset));
    if (data == MAP_FAILED) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("mmap({} bytes, fd {})", size, fd)));
    }
    Mapping mapping;
    mapping.data_ = static_cast<std::byte*>(data);
    mapping.size_ = size;
    return mapping;
}

Result<> Mapping::populate(std::uint64_t offset, std::size_t size) const {
    if (::madvise(data_ + offset, size, MADV_POPULATE_READ) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("madvise(MADV_POPULATE_READ, {} bytes)", size)));
}

Result<std::size_t> process_vm_readv(Pid pid, std::span<const iovec> local,
                                     std::span<const iovec> remote) {
    const ssize_t n =
        ::process_vm_readv(pid.value, local.data(), local.size(), remote.data(), remote.size(), 0);
    if (n >= 0) return static_cast<std::size_t>(n);
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("process {} is gone", pid)));
    return fail(Error::system(code, fmt::format("process_vm_readv({})", pid)));
}

Result<std::size_t> process_vm_writev(Pid pid, std::span<const iovec> local,
                                      std::span<const iovec> remote) {
    const ssize_t n =
        ::process_vm_writev(pid.value, local.data(), local.size(), remote.data(), remote.size(), 0);
    if (n >= 0) return static_cast<std::size_t>(n);
    const int code = errno;
    if (code == ESRCH) return fail(Error::gone(fmt::format("process {} is gone", pid)));
    return fail(Error::system(code, fmt::format("process_vm_writev({})", pid)));
}

}  // namespace ferry::os
