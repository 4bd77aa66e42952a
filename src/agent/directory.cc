#include "agent/directory.h"

#include <cerrno>

#include "os/fd.h"

namespace ferry::agent {

Result<> make_directories(const std::string& path) {
    for (auto slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        auto made = os::mkdirat(os::kCwd, path.substr(0, slash), 0700);
        if (!made && made.error().code() != EEXIST) return made;
        if (slash == std::string::npos) return {};
    }
}

}  // namespace ferry::agent
