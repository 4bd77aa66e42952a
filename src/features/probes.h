// The probes themselves, grouped as they are printed. Each tries the facility and cleans up after
// itself.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "base/error.h"
#include "features/features.h"

namespace ferry::features {

struct Probe {
    const char* name;
    const char* purpose;
    Need need;
    // The error's message is the reason why not.
    Result<> (*attempt)();
};

std::span<const Probe> privilege_probes();
std::span<const Probe> memory_probes();
std::span<const Probe> task_probes();
std::span<const Probe> file_probes();
std::span<const Probe> network_probes();

// The value is of no interest, only whether there is one.
template <class T>
Result<> succeeded(Result<T> result) {
    if (!result) return fail(std::move(result.error()));
    return {};
}

// For calls that are made with senseless arguments: the kernel knows the call if it complains about
// exactly those.
template <class T>
Result<> fails_with(Result<T> result, int code) {
    if (result || result.error().code() == code) return {};
    return fail(std::move(result.error()));
}

[[nodiscard]] inline std::unexpected<Error> missing(std::string why) {
    return fail(Error::unsupported(std::move(why)));
}

// A file of procfs or sysfs exists.
Result<> exists(const char* path);

// Runs `body` in a child, which must not allocate (I7), and returns 0 or an errno.
Result<> in_child(const char* what, int (*body)());

}  // namespace ferry::features
