// Owners of file descriptors and the system calls on them. One thin function per system call, with
// the name and the argument order of its man page, returning Result. Only os/ touches errno. Every
// descriptor made here is close-on-exec; EINTR is retried here and nowhere else.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// Owns one descriptor. Default: empty. The destructor closes; a double close is a bug (CHECK).
class UniqueFd {
  public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        UniqueFd taken(std::move(other));
        std::swap(fd_, taken.fd_);
        return *this;
    }
    UniqueFd(const UniqueFd&) = delete;
    UniqueFd& operator=(const UniqueFd&) = delete;
    ~UniqueFd();

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    explicit operator bool() const { return fd_ >= 0; }
    void reset() { UniqueFd closed(release()); }
    // For files we wrote: reports ENOSPC, EIO. EINTR counts as closed (Linux, close(2)).
    Result<> close() &&;

  private:
    int fd_ = -1;
};

// path is relative to directory; AT_FDCWD as directory fd is `os::kCwd`.
inline constexpr int kCwd = -100;
Result<UniqueFd> openat(int directory, const std::string& path, int flags, mode_t mode = 0600);
Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0600);
Result<UniqueFd> dup(int fd);
Result<std::pair<UniqueFd, UniqueFd>> pipe2(int flags);
Result<UniqueFd> memfd_create(const std::string& name, unsigned flags);
Result<> ftruncate(int fd, std::uint64_t size);
Result<> fchmod(int fd, mode_t mode);
Result<> fchown(int fd, uid_t user, gid_t group);
// fstatfs(2): f_type (linux/magic.h).
Result<std::uint64_t> file_system_type(int fd);
// fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE).
Result<> punch_hole(int fd, std::uint64_t offset, std::uint64_t size);
Result<> futimens(int fd, const timespec& access, const timespec& modify);

// Short counts are possible, as in read(2) and write(2).
Result<std::size_t> read(int fd, std::span<std::byte> into);
Result<std::size_t> pread(int fd, std::span<std::byte> into, std::uint64_t offset);
Result<std::size_t> write(int fd, std::span<const std::byte> from);
// All or an error. A premature end of file is Error::Kind::Corrupt.
Result<> read_all(int fd, std::span<std::byte> into);
Result<> pread_all(int fd, std::span<std::byte> into, std::uint64_t offset);
Result<> write_all(int fd, std::span<const std::byte> from);
Result<> pwrite_all(int fd, std::span<const std::byte> from, std::uint64_t offset);

// Whole small files (procfs, sysfs, configuration).
Result<std::string> read_file(int directory, const std::string& path);
Result<std::string> read_file(const std::string& path);
Result<> write_file(int directory, const std::string& path, std::string_view content);
Result<std::string> readlinkat(int directory, const std::string& path);
Result<struct stat> fstat(int fd);
Result<struct stat> fstatat(int directory, const std::string& path, int flags = 0);
Result<> mkdirat(int directory, const std::string& path, mode_t mode);
Result<> unlinkat(int directory, const std::string& path, int flags = 0);
// What readdir(3) shows, without "." and "..".
struct DirectoryEntry {
    std::string name;
    std::uint64_t inode = 0;
};
Result<std::vector<DirectoryEntry>> directory_entries(int directory, const std::string& path);
// Only the names.
Result<std::vector<std::string>> list_directory(int directory, const std::string& path);

Result<int> fcntl(int fd, int command, std::uint64_t argument = 0);
Result<int> ioctl(int fd, unsigned long request, void* argument);

[[nodiscard]] inline std::span<const std::byte> as_bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace ferry::os
