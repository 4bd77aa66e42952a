// What System V objects of all kinds have in common. Private to resources/.
#pragma once

#include <fmt/format.h>
#include <sys/ipc.h>

#include "base/error.h"
#include "model/ipc.h"
#include "os/fd.h"
#include "os/scope.h"
#include "os/system_v.h"
#include "proc/system_v.h"

namespace ferry::resources {

inline constexpr unsigned kPermissions = 0777;

[[nodiscard]] inline model::IpcObject to_model(const proc::SystemVObject& object) {
    return {.id = object.id,
            .key = object.key,
            .mode = object.mode & kPermissions,
            .uid = object.uid,
            .gid = object.gid,
            .cuid = object.cuid,
            .cgid = object.cgid};
}

[[nodiscard]] inline os::SystemVOwner owner_of(const model::IpcObject& object) {
    return {.user = object.uid, .group = object.gid, .mode = object.mode};
}

// Makes an object with its id and creator, for everybody to use; `make` gets the flags of its call.
// `next_id` is the file of /proc/sys/kernel that says which id comes next. Invalid: the id is
// taken.
template <class Make>
Result<> make_object(const model::IpcObject& object, const char* next_id, Make make) {
    TRY(os::write_file(os::kCwd, next_id, fmt::format("{}", object.id)));
    const int id = TRY([&]() -> Result<int> {
        const auto creator =
            TRY(os::UserScope::enter(os::UserIds{.user = object.cuid, .group = object.cgid}));
        return make(IPC_CREAT | IPC_EXCL | static_cast<int>(kPermissions));
    }());
    if (id == object.id) return {};
    return fail(Error::invalid(fmt::format("the id {} is taken here", object.id)));
}

}  // namespace ferry::resources
