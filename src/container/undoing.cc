#include "container/undoing.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <tuple>
#include <vector>

#include "base/log.h"
#include "os/fd.h"
#include "os/flock.h"
#include "os/paths.h"

namespace ferry::container {
namespace {

constexpr const char* kParent = "/run";
constexpr std::size_t kSuffix = 6;  // what mkdtemp(3) appends
constexpr std::chrono::seconds kTimeout{60};
// A sign is held a moment after it has been made.
constexpr std::chrono::seconds kAbandoned{1};
constexpr const char* kContents[] = {"/config.json", "/console"};  // what may lie in one

std::string prefix_of(std::string_view what, const std::string& id) {
    return fmt::format("ferry-{}-{}-", what, id);
}

}  // namespace

Result<std::string> make_aside(std::string_view what, const std::string& id) {
    return os::mkdtemp(fmt::format("{}/{}", kParent, prefix_of(what, id)));
}

Result<os::UniqueFd> hold_aside(const std::string& aside) {
    os::UniqueFd held = TRY(os::open(aside, O_RDONLY | O_DIRECTORY));
    if (TRY(os::try_flock(held.get()))) return held;
    return fail(Error::invalid(fmt::format("{} is somebody else's", aside)));
}

Result<> await_undoing(std::string_view what, const std::string& id,
                       const std::function<Result<>()>& take_over) {
    const std::string prefix = prefix_of(what, id);
    const auto begun = std::chrono::steady_clock::now();
    const auto deadline = begun + kTimeout;
    auto held_at = begun;
    for (;;) {
        const std::vector<std::string> names = TRY(os::list_directory(os::kCwd, kParent));
        const auto other = std::ranges::find_if(names, [&](const std::string& name) {
            return name.starts_with(prefix) && name.size() == prefix.size() + kSuffix;
        });
        if (other == names.end()) return {};
        const std::string path = fmt::format("{}/{}", kParent, *other);
        const auto ours = take_over ? hold_aside(path) : fail(Error::invalid(""));
        if (!ours) held_at = std::chrono::steady_clock::now();
        if (std::chrono::steady_clock::now() - held_at > kAbandoned) {
            log_info("{} has been left by who made it", path);
            TRY(take_over());
            for (const char* file : kContents) std::ignore = os::unlinkat(os::kCwd, path + file);
            TRY(os::unlinkat(os::kCwd, path, AT_REMOVEDIR));
            continue;
        }
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::invalid(fmt::format(
                "an earlier attempt is still being undone; if no ferryd is at it, remove {}",
                path)));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

}  // namespace ferry::container
