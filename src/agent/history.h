// Finished sessions, in SQLite. Thread-safe. Source: sqlite.org/c3ref.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent/session_info.h"
#include "base/error.h"

struct sqlite3;

namespace ferry::agent {

class History {
  public:
    // Creates the file where it is missing. Corrupt if it is no database of ours.
    static Result<std::unique_ptr<History>> open(const std::string& path);
    History(const History&) = delete;
    History& operator=(const History&) = delete;
    ~History();

    // Replaces an entry of the same id and role.
    Result<> add(const SessionInfo& info);
    // The most recently finished first; limit 0: all.
    Result<std::vector<SessionInfo>> recent(unsigned limit);
    Result<std::optional<SessionInfo>> find(const std::string& id);

  private:
    explicit History(sqlite3* database) : database_(database) {}
    Result<std::vector<SessionInfo>> select(const std::string& tail, const std::string& argument);
    Result<> execute(const char* sql);
    std::mutex mutex_;
    sqlite3* database_;
};

}  // namespace ferry::agent
