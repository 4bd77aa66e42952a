#include "agent/history.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/check.h"

namespace ferry::agent {
namespace {

constexpr const char* kSchema =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA busy_timeout=2000;"
    "CREATE TABLE IF NOT EXISTS sessions ("
    "  id TEXT PRIMARY KEY, info TEXT NOT NULL, finished_ms INTEGER NOT NULL);"
    "CREATE INDEX IF NOT EXISTS sessions_by_time ON sessions (finished_ms);";

struct StatementCloser {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, StatementCloser>;

std::unexpected<Error> failure(sqlite3* database, std::string_view what) {
    return fail(Error::corrupt(fmt::format("history: {}: {}", what, sqlite3_errmsg(database))));
}

Result<Statement> prepare(sqlite3* database, const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v2(database, sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) {
        return failure(database, "prepare");
    }
    return Statement(raw);
}

// The statement keeps its own copy (the destructor argument -1 is SQLITE_TRANSIENT, spelled without
// the old-style cast of the macro).
Result<> bind_text(sqlite3* database, sqlite3_stmt* statement, int position,
                   const std::string& text) {
    const auto transient =
        reinterpret_cast<sqlite3_destructor_type>(static_cast<std::intptr_t>(-1));
    if (sqlite3_bind_text(statement, position, text.c_str(), static_cast<int>(text.size()),
                          transient) != SQLITE_OK) {
        return failure(database, "bind");
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<History>> History::open(const std::string& path) {
    sqlite3* raw = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    const int result = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
    std::unique_ptr<History> history(new History(raw));
    if (result != SQLITE_OK) return failure(raw, path);
    TRY(with_context(history->execute(kSchema), path));
    return history;
}

History::~History() {
    CHECK(sqlite3_close(database_) == SQLITE_OK);
}

Result<> History::execute(const char* sql) {
    if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        return failure(database_, "schema");
    }
    return {};
}

Result<> History::add(const SessionInfo& info) {
    const std::lock_guard lock(mutex_);
    const Statement statement = TRY(prepare(
        database_, "INSERT OR REPLACE INTO sessions (id, info, finished_ms) VALUES (?, ?, ?)"));
    TRY(bind_text(database_, statement.get(), 1, info.id));
    TRY(bind_text(database_, statement.get(), 2, to_json(info)));
    if (sqlite3_bind_int64(statement.get(), 3, info.finished_ms) != SQLITE_OK) {
        return failure(database_, "bind");
    }
    if (sqlite3_step(statement.get()) != SQLITE_DONE) return failure(database_, "insert");
    return {};
}

Result<std::vector<SessionInfo>> History::select(const std::string& tail,
                                                 const std::string& argument) {
    const std::lock_guard lock(mutex_);
    const Statement statement = TRY(prepare(database_, "SELECT info FROM sessions " + tail));
    if (!argument.empty()) TRY(bind_text(database_, statement.get(), 1, argument));
    std::vector<SessionInfo> found;
    for (;;) {
        const int step = sqlite3_step(statement.get());
        if (step == SQLITE_DONE) return found;
        if (step != SQLITE_ROW) return failure(database_, "select");
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0));
        found.push_back(TRY(session_info_from_json(text != nullptr ? text : "")));
    }
}

Result<std::vector<SessionInfo>> History::recent(unsigned limit) {
    const std::string most = limit == 0 ? "" : fmt::format(" LIMIT {}", limit);
    return select("ORDER BY finished_ms DESC, rowid DESC" + most, "");
}

Result<std::optional<SessionInfo>> History::find(const std::string& id) {
    auto found = TRY(select("WHERE id = ?", id));
    if (found.empty()) return std::nullopt;
    return std::move(found.front());
}

}  // namespace ferry::agent
