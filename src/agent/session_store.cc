#include "agent/session_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "agent/directory.h"
#include "os/directory.h"
#include "os/flock.h"

namespace ferry::agent {

Result<SessionStore> SessionStore::open(const std::string& directory) {
    TRY(make_directories(directory));
    return SessionStore(directory);
}

Result<> SessionStore::write(const SessionInfo& info) const {
    const std::string path = fmt::format("{}/{}.json", directory_, info.id);
    // Agent and worker may write at the same time, each whole.
    const std::string fresh = fmt::format("{}.{}", path, ::getpid());
    os::UniqueFd file = TRY(os::open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    TRY(with_context(os::write_all(file.get(), os::as_bytes(to_json(info))), fresh));
    TRY(std::move(file).close());
    return os::renameat(os::kCwd, fresh, os::kCwd, path);
}

Result<std::optional<SessionInfo>> SessionStore::read(const std::string& id) const {
    if (!is_session_id(id)) return fail(Error::invalid("this is no session id"));
    const auto text = os::read_file(fmt::format("{}/{}.json", directory_, id));
    if (!text && text.error().code() == ENOENT) return std::nullopt;
    if (!text) return fail(text.error());
    return TRY(with_context(session_info_from_json(*text), id));
}

Result<std::vector<std::string>> SessionStore::ids() const {
    std::vector<std::string> found;
    for (const std::string& name : TRY(os::list_directory(os::kCwd, directory_))) {
        if (!name.ends_with(".json")) continue;
        std::string id = name.substr(0, name.size() - 5);
        if (is_session_id(id)) found.push_back(std::move(id));
    }
    return found;
}

Result<> SessionStore::remove(const std::string& id) const {
    for (const char* suffix : {"json", "lock"}) {
        auto removed = os::unlinkat(os::kCwd, fmt::format("{}/{}.{}", directory_, id, suffix));
        if (!removed && removed.error().code() != ENOENT) return removed;
    }
    return {};
}

Result<std::optional<os::UniqueFd>> SessionStore::try_lock(const std::string& id) const {
    os::UniqueFd file =
        TRY(os::open(fmt::format("{}/{}.lock", directory_, id), O_RDWR | O_CREAT, 0600));
    if (!TRY(os::try_flock(file.get()))) return std::nullopt;
    return file;
}

}  // namespace ferry::agent
