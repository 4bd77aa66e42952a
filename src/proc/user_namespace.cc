#include "proc/user_namespace.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string>

#include "proc/process_directory.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

// As many as the kernel takes (UID_GID_MAP_MAX_EXTENTS, Linux 4.15).
constexpr std::size_t kRangesMax = 340;

}  // namespace

std::optional<std::uint32_t> IdMap::inside(std::uint32_t outside) const {
    for (const IdRange& range : ranges_) {
        if (outside < range.outside || outside - range.outside >= range.count) continue;
        return range.inside + (outside - range.outside);
    }
    return std::nullopt;
}

std::optional<std::uint32_t> IdMap::outside(std::uint32_t inside) const {
    for (const IdRange& range : ranges_) {
        if (inside < range.inside || inside - range.inside >= range.count) continue;
        return range.outside + (inside - range.inside);
    }
    return std::nullopt;
}

Result<IdMap> parse_id_map(std::string_view text) {
    std::vector<IdRange> ranges;
    while (!text.empty()) {
        std::string_view line = take_until(text, '\n');
        const std::string whole(line);
        const auto inside = to_number<std::uint32_t>(take_word(line));
        const auto outside = to_number<std::uint32_t>(take_word(line));
        const auto count = to_number<std::uint32_t>(take_word(line));
        if (!inside || !outside || !count || ranges.size() == kRangesMax) {
            return fail(Error::corrupt(fmt::format("uid_map: \"{}\"", whole)));
        }
        ranges.push_back({.inside = *inside, .outside = *outside, .count = *count});
    }
    return IdMap(std::move(ranges));
}

Result<std::optional<UserNamespace>> user_namespace_of(Pid process) {
    const auto own = TRY(ProcessDirectory::open(Pid{::getpid()}));
    const auto directory = TRY(ProcessDirectory::open(process));
    // A process of our own namespace shows that one's ids in the one around it.
    if (TRY(own.namespace_id("user")) == TRY(directory.namespace_id("user"))) return std::nullopt;
    UserNamespace found = {.users = TRY(parse_id_map(TRY(directory.text("uid_map")))),
                           .groups = TRY(parse_id_map(TRY(directory.text("gid_map")))),
                           .root = {}};
    const auto user = found.users.outside(0);
    const auto group = found.groups.outside(0);
    if (!user || !group) {
        return fail(Error::unsupported(
            fmt::format("the user namespace of process {} has no root", process)));
    }
    found.root = {.user = *user, .group = *group};
    return found;
}

Result<std::optional<os::UserIds>> foreign_root(Pid process) {
    const auto found = TRY(user_namespace_of(process));
    return found ? std::optional(found->root) : std::nullopt;
}

}  // namespace ferry::proc
