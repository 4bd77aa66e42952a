#include "os/directory.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>

namespace ferry::os {

Result<> renameat(int from_directory, const std::string& from, int to_directory,
                  const std::string& to) {
    if (::renameat(from_directory, from.c_str(), to_directory, to.c_str()) == 0) return {};
    const int code = errno;
    return fail(Error::system(code, fmt::format("rename({}, {})", from, to)));
}

}  // namespace ferry::os
