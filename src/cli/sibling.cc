#include "cli/sibling.h"

#include "os/fd.h"
#include "os/spawn.h"

namespace ferry::cli {

Error become_sibling(const std::string& program, const std::vector<std::string>& words) {
    const Result<std::string> self = os::readlinkat(os::kCwd, "/proc/self/exe");
    if (!self) return self.error();
    const std::string path = self->substr(0, self->rfind('/') + 1) + program;
    return os::execute(path, words);
}

}  // namespace ferry::cli
