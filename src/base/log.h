// Debug logging for every layer. Library code returns errors and logs only at Debug; programs (cli,
// agent) and orchestrators log the rest. The sink and the level are the one allowed global (I9):
// they are set once by main() before threads start. Lines go to the sink without a trailing
// newline.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace ferry {

// CRIU's numbers: -v0 only errors ... -v4 debug.
enum class LogLevel { Error = 1, Warn = 2, Info = 3, Debug = 4 };

using LogSink = void (*)(LogLevel level, std::string_view line);

// sink == nullptr restores the default (stderr).
void set_log(LogSink sink, LogLevel up_to);
[[nodiscard]] bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    if (log_enabled(level)) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::Debug, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::Info, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::Warn, format, std::forward<Args>(args)...);
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::Error, format, std::forward<Args>(args)...);
}

}  // namespace ferry
