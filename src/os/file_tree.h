// Nodes of a file system by their names in an open directory: making them, their attributes. Links
// are never followed, unless it says so.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// openat2(2), Linux 5.6. `resolve`: RESOLVE_*.
Result<UniqueFd> openat2(int directory, const std::string& path, int flags, std::uint64_t resolve);

Result<> mknodat(int directory, const std::string& name, mode_t mode, dev_t device);
Result<> symlinkat(const std::string& target, int directory, const std::string& name);
Result<> linkat(int from_directory, const std::string& from, int directory,
                const std::string& name);
Result<> fchownat(int directory, const std::string& name, uid_t user, gid_t group);
// Follows links.
Result<> fchmodat(int directory, const std::string& name, mode_t mode);
Result<> utimensat(int directory, const std::string& name, const timespec& accessed,
                   const timespec& modified);

using ExtendedAttributes = std::vector<std::pair<std::string, std::string>>;  // by name
Result<ExtendedAttributes> extended_attributes(int directory, const std::string& name);
Result<> set_extended_attribute(int directory, const std::string& name,
                                const std::pair<std::string, std::string>& attribute);
Result<> remove_extended_attribute(int directory, const std::string& name,
                                   const std::string& attribute);

// What an ordinary user may still write to its file system (statvfs(3)).
Result<std::uint64_t> available_bytes(int fd);
// syncfs(2).
Result<> syncfs(int fd);

// [first, second): where a file has data up to `size`; the rest is holes.
Result<std::vector<std::pair<std::uint64_t, std::uint64_t>>> data_ranges(int fd,
                                                                         std::uint64_t size);

}  // namespace ferry::os
