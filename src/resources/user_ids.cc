#include "resources/user_ids.h"

#include <fmt/format.h>

#include <variant>

namespace ferry::resources {
namespace {

// What the kernel shows for an id without one (/proc/sys/kernel/overflowuid).
constexpr std::uint32_t kNobody = 65534;

Result<> change(std::uint32_t& id, const proc::IdMap& map, const char* what) {
    const auto inside = map.inside(id);
    if (!inside) {
        return fail(Error::unsupported(fmt::format(
            "it runs as {} {} of the host, which its user namespace has no id for", what, id)));
    }
    id = *inside;
    return {};
}

void change_if_known(std::uint32_t& id, const proc::IdMap& map) {
    id = map.inside(id).value_or(kNobody);
}

}  // namespace

Result<> number_users_from_inside(model::Credentials& credentials,
                                  const proc::UserNamespace& space) {
    model::Credentials changed = credentials;
    for (std::uint32_t* id : {&changed.uid, &changed.euid, &changed.suid, &changed.fsuid}) {
        TRY(change(*id, space.users, "user"));
    }
    for (std::uint32_t* id : {&changed.gid, &changed.egid, &changed.sgid, &changed.fsgid}) {
        TRY(change(*id, space.groups, "group"));
    }
    for (std::uint32_t& id : changed.groups) TRY(change(id, space.groups, "group"));
    credentials = std::move(changed);
    return {};
}

Result<> number_users_from_inside(model::Checkpoint& checkpoint, const proc::UserNamespace& space) {
    for (model::Process& process : checkpoint.processes) {
        for (model::Thread& thread : process.threads) {
            TRY(with_context(number_users_from_inside(thread.credentials, space),
                             fmt::format("thread {}", thread.tid)));
        }
    }
    for (model::OpenFile& file : checkpoint.files) {
        if (file.owner.pid != 0) {
            change_if_known(file.owner.uid, space.users);
            change_if_known(file.owner.euid, space.users);
        }
        auto* socket = std::get_if<model::UnixSocket>(&file.body);
        if (socket == nullptr || !socket->listener) continue;
        change_if_known(socket->listener->uid, space.users);
        change_if_known(socket->listener->gid, space.groups);
    }
    return {};
}

}  // namespace ferry::resources
