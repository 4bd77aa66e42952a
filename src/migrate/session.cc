#include "migrate/session.h"

#include <array>
#include <utility>

namespace ferry::migrate {
namespace {

constexpr std::array<std::pair<SessionState, const char*>, 7> kNames = {{
    {SessionState::Unknown, "unknown"},
    {SessionState::Precopy, "precopy"},
    {SessionState::Ready, "ready"},
    {SessionState::Committed, "committed"},
    {SessionState::Running, "running"},
    {SessionState::Done, "done"},
    {SessionState::Aborted, "aborted"},
}};

}  // namespace

const char* name_of(SessionState state) {
    for (const auto& [value, name] : kNames) {
        if (value == state) return name;
    }
    return "unknown";
}

std::optional<SessionState> session_state_from(const std::string& name) {
    for (const auto& [value, text] : kNames) {
        if (name == text) return value;
    }
    return std::nullopt;
}

const char* name_of(Method method) {
    return method == Method::Live ? "live" : "checkpoint";
}

std::optional<Method> method_from(const std::string& name) {
    for (const Method method : {Method::Live, Method::Checkpoint}) {
        if (name == name_of(method)) return method;
    }
    return std::nullopt;
}

}  // namespace ferry::migrate
