// The journal of decisions: one small file per session that is under way, replaced by rename,
// written by the session's worker before it acts (migrate::SessionHost::record) and read by whoever
// must answer what became of the session. It outlives worker and agent. It is not synced to disk:
// what would take the page cache with it (power loss) takes the service's tree with it as well.
//
// A worker holds an exclusive flock(2) on ID.lock as long as it lives, through a descriptor that it
// got from the agent; who gets the lock knows that the worker is dead and that the file is final.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/session_info.h"
#include "base/error.h"
#include "os/fd.h"

namespace ferry::agent {

class SessionStore {
  public:
    // Makes the directory, mode 0700, where it is missing.
    static Result<SessionStore> open(const std::string& directory);

    // Atomic: a reader sees the old file or the new one.
    Result<> write(const SessionInfo& info) const;
    // Nothing if there is no such session. The id is checked first: it comes from peers.
    [[nodiscard]] Result<std::optional<SessionInfo>> read(const std::string& id) const;
    [[nodiscard]] Result<std::vector<std::string>> ids() const;
    // Both files of the session.
    Result<> remove(const std::string& id) const;
    // The lock of the session's worker; nothing if somebody alive holds it.
    [[nodiscard]] Result<std::optional<os::UniqueFd>> try_lock(const std::string& id) const;

    [[nodiscard]] const std::string& directory() const { return directory_; }

  private:
    explicit SessionStore(std::string directory) : directory_(std::move(directory)) {}
    std::string directory_;
};

}  // namespace ferry::agent
