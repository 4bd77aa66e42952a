#include "container/undoing.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "os/fd.h"
#include "os/paths.h"

namespace ferry::container {
namespace {

constexpr const char* kParent = "/run";
constexpr std::size_t kSuffix = 6;  // what mkdtemp(3) appends
constexpr std::chrono::seconds kTimeout{60};

std::string prefix_of(std::string_view what, const std::string& id) {
    return fmt::format("ferry-{}-{}-", what, id);
}

}  // namespace

Result<std::string> make_aside(std::string_view what, const std::string& id) {
    return os::mkdtemp(fmt::format("{}/{}", kParent, prefix_of(what, id)));
}

Result<> await_undoing(std::string_view what, const std::string& id) {
    const std::string prefix = prefix_of(what, id);
    const auto deadline = std::chrono::steady_clock::now() + kTimeout;
    for (;;) {
        const std::vector<std::string> names = TRY(os::list_directory(os::kCwd, kParent));
        const auto other = std::ranges::find_if(names, [&](const std::string& name) {
            return name.starts_with(prefix) && name.size() == prefix.size() + kSuffix;
        });
        if (other == names.end()) return {};
        if (std::chrono::steady_clock::now() > deadline) {
            return fail(Error::invalid(fmt::format(
                "an earlier attempt is still being undone; if no ferryd is at it, remove {}/{}",
                kParent, *other)));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

}  // namespace ferry::container
