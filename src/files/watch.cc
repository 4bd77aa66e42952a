#include "files/watch.h"

#include <fmt/format.h>
#include <sys/inotify.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "files/tree_root.h"
#include "os/inotify.h"

namespace ferry::files {
namespace {

constexpr std::uint32_t kEvents =
    IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR;

}  // namespace

Result<Watch> Watch::create() {
    return Watch(TRY(os::inotify_init()));
}

void Watch::add(int directory, const TreePath& path) {
    const auto watch =
        os::inotify_add_watch(fd_.get(), fmt::format("/proc/self/fd/{}", directory), kEvents);
    // One that was watched by another path has moved, and keeps its number.
    if (watch) directories_.insert_or_assign(*watch, path);
    if (!watch) incomplete_ = true;
}

Result<Watch::News> Watch::take() {
    News news{.everything = incomplete_, .paths = {}, .appeared = {}};
    alignas(inotify_event) std::array<std::byte, 65536> buffer;
    for (;;) {
        const auto got = os::read(fd_.get(), buffer);
        if (!got && got.error().code() == EAGAIN) return news;
        const std::size_t size = TRY(got);
        for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
            inotify_event event{};
            std::memcpy(&event, buffer.data() + at, sizeof event);
            const char* name = reinterpret_cast<const char*>(buffer.data()) + at + sizeof event;
            at += sizeof event + event.len;
            if ((event.mask & IN_Q_OVERFLOW) != 0) news.everything = true;
            const auto directory = directories_.find(event.wd);
            if (directory == directories_.end()) continue;
            const auto& [tree, path] = directory->second;
            news.paths.insert(directory->second);
            if (event.len > 0) {
                const TreePath inside = {
                    tree, path == kTop ? std::string(name) : fmt::format("{}/{}", path, name)};
                news.paths.insert(inside);
                const bool appears = (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0;
                if (appears && (event.mask & IN_ISDIR) != 0) news.appeared.insert(inside);
            }
            if ((event.mask & IN_IGNORED) != 0) directories_.erase(directory);
        }
    }
}

}  // namespace ferry::files
