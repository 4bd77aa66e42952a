#include "os/inotify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>

#include <cerrno>
#include <cstring>

namespace ferry::os {

Result<UniqueFd> inotify_init() {
    const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd >= 0) return UniqueFd(fd);
    const int code = errno;
    return fail(Error::system(code, "inotify_init1()"));
}

Result<int> inotify_add_watch(int inotify, const std::string& path, std::uint32_t mask) {
    const int watch = ::inotify_add_watch(inotify, path.c_str(), mask);
    if (watch >= 0) return watch;
    const int code = errno;
    return fail(Error::system(code, fmt::format("inotify_add_watch({}, {:#x})", path, mask)));
}

Result<> inotify_rm_watch(int inotify, int watch) {
    if (::inotify_rm_watch(inotify, watch) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("inotify_rm_watch({})", watch)));
}

Result<UniqueFd> open_by_handle(int mount, int type, std::span<const std::byte> handle) {
    alignas(file_handle) char bytes[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
    if (handle.size() > MAX_HANDLE_SZ) {
        return fail(Error::corrupt(fmt::format("a file handle of {} bytes", handle.size())));
    }
    auto* whole = reinterpret_cast<file_handle*>(bytes);
    whole->handle_bytes = static_cast<unsigned>(handle.size());
    whole->handle_type = type;
    std::memcpy(whole->f_handle, handle.data(), handle.size());
    const int fd = ::open_by_handle_at(mount, whole, O_PATH | O_CLOEXEC);
    if (fd >= 0) return UniqueFd(fd);
    const int code = errno;
    return fail(Error::system(code, fmt::format("open_by_handle_at(type {})", type)));
}

}  // namespace ferry::os
