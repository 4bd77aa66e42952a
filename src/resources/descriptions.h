// What the collectors of the single kinds of files share: where a description was found, and a
// duplicate of it in our process.
#pragma once

#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "resources/fdinfo.h"

namespace ferry::resources {

// One descriptor of the tree.
struct Holder {
    Pid pid;
    int fd = -1;
    [[nodiscard]] std::string text() const { return fmt::format("pid {} fd {}", pid, fd); }
};

// One descriptor as /proc shows it.
struct Slot {
    Holder holder;
    FdInfo info;
    FileKind kind = FileKind::Other;
    std::string link;  // target of /proc/PID/fd/FD
};

// "pid 12 fd 3 is REASON: ADVICE", Error::Kind::Unsupported.
[[nodiscard]] inline std::unexpected<Error> refuse(
    const Holder& holder, const std::string& reason,
    std::source_location place = std::source_location::current()) {
    return fail(Error::unsupported(fmt::format("{} is {}", holder.text(), reason), place));
}

}  // namespace ferry::resources
