#include "os/directory.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>

namespace ferry::os {

Result<> renameat(int directory, const std::string& from, const std::string& to) {
    if (::renameat(directory, from.c_str(), directory, to.c_str()) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("rename({}, {})", from, to)));
}

}  // namespace ferry::os
