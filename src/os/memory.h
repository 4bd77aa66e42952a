// Our own mappings, and reading and writing the memory of other processes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// Owns one mapping of ours; the destructor unmaps it.
class Mapping {
  public:
    Mapping() = default;
    Mapping(Mapping&& o) noexcept
        : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
    Mapping& operator=(Mapping&& o) noexcept {
        Mapping taken(std::move(o));
        std::swap(data_, taken.data_);
        std::swap(size_, taken.size_);
        return *this;
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();

    // mmap(nullptr, size, protection, flags, fd, offset).
    static Result<Mapping> map(std::size_t size, int protection, int flags, int fd = -1,
                               std::uint64_t offset = 0);

    // madvise(MADV_POPULATE_READ, Linux 5.14): page table entries for this part. EFAULT: behind the
    // end of what is mapped.
    [[nodiscard]] Result<> populate(std::uint64_t offset, std::size_t size) const;

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_}; }
    explicit operator bool() const { return data_ != nullptr; }

  private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// process_vm_readv(2): returns the bytes read, which are fewer than asked where a page cannot be
// read. EFAULT on the very first byte is a System error; ESRCH (the process is gone) is Kind::Gone.
Result<std::size_t> process_vm_readv(Pid pid, std::span<const iovec> local,
                                     std::span<const iovec> remote);
Result<std::size_t> process_vm_writev(Pid pid, std::span<const iovec> local,
                                      std::span<const iovec> remote);

}  // namespace ferry::os
