// What a host shows of itself: processes, mounts, firewall rules, links, addresses, routes,
// sockets, files and the descriptors of its agent. Two snapshots are compared to show that an
// operation left nothing behind.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/world.h"

namespace ferry::lab {

class SystemSnapshot {
  public:
    // Not while programs of the caller run in the host.
    static Result<SystemSnapshot> take(const Host& host);

    // One line for each fact that only one of the two has: "+ process: 17 sleep" for what is new.
    [[nodiscard]] std::vector<std::string> differences_to(const SystemSnapshot& later) const;

  private:
    // "process: 17 redis-server" and how often it is true.
    std::map<std::string, int> facts_;
};

// The differences that are still there when the host had this long to settle (exits and closes of
// others are asynchronous), without those that `expected` accepts; returns as soon as there are
// none.
Result<std::vector<std::string>> lasting_differences(
    const Host& host, const SystemSnapshot& before,
    const std::function<bool(const std::string&)>& expected = {},
    std::chrono::milliseconds settle = std::chrono::seconds(10));

// Descriptors of all processes of the host (what `lsof` counts as open files, less mappings).
Result<std::uint64_t> open_files(const Host& host);
// Sum of the proportional set sizes of all processes of the host, in bytes.
Result<std::uint64_t> memory_in_use(const Host& host);

}  // namespace ferry::lab
