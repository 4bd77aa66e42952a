#include "container/mark.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "container/json_access.h"
#include "os/fd.h"

namespace ferry::container {
namespace {

Result<> write_mark(const std::string& tree, const Json& content) {
    return with_context(os::write_file(os::kCwd, mark_of(tree), to_text(content)),
                        fmt::format("marking {}", tree));
}

}  // namespace

std::string mark_of(const std::string& tree) {
    return tree + ".ferry-copy";
}

Result<> mark_as_coming(const std::string& tree, const std::string& id) {
    return write_mark(tree,
                      {{"what", "files of a container that is not here yet"}, {"container", id}});
}

Result<> mark_as_left(const std::vector<files::TreePlace>& places, const std::string& id,
                      const std::string& destination) {
    for (const files::TreePlace& place : places) {
        if (!os::fstatat(os::kCwd, place.path)) continue;
        TRY(write_mark(place.path,
                       {{"what", "files that a container has left: what is here is not current"},
                        {"container", id},
                        {"moved_to", destination}}));
    }
    return {};
}

}  // namespace ferry::container
