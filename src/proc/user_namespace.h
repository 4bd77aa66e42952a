// The ids of another user namespace: as they are there (inside) and as they are in ours (outside).
// user_namespaces(7), "User and group ID mappings: uid_map and gid_map".
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "os/scope.h"

namespace ferry::proc {

struct IdRange {
    std::uint32_t inside = 0, outside = 0, count = 0;
    bool operator==(const IdRange&) const = default;
};

class IdMap {
  public:
    IdMap() = default;
    explicit IdMap(std::vector<IdRange> ranges) : ranges_(std::move(ranges)) {}
    // nullopt: the id has none on the other side.
    [[nodiscard]] std::optional<std::uint32_t> inside(std::uint32_t outside) const;
    [[nodiscard]] std::optional<std::uint32_t> outside(std::uint32_t inside) const;
    [[nodiscard]] const std::vector<IdRange>& ranges() const { return ranges_; }
    bool operator==(const IdMap&) const = default;

  private:
    std::vector<IdRange> ranges_;
};

// Corrupt: a line that makes no sense, or too many.
Result<IdMap> parse_id_map(std::string_view text);

struct UserNamespace {
    IdMap users, groups;
    os::UserIds root;  // who is root in it, as we see it
};
// The one that a process is in; nothing: it is ours. Unsupported: it has no root.
Result<std::optional<UserNamespace>> user_namespace_of(Pid process);
// Root there, if it is not ours.
Result<std::optional<os::UserIds>> foreign_root(Pid process);

}  // namespace ferry::proc
