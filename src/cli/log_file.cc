#include "cli/log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/log.h"

namespace ferry::cli {

namespace {

// The log sink is the one global that is allowed (I9); these are its state.
int g_log_fd = STDERR_FILENO;
const std::chrono::steady_clock::time_point kStart = std::chrono::steady_clock::now();

const char* prefix(LogLevel level) {
    switch (level) {
        case LogLevel::Error:
            return "Error: ";
        case LogLevel::Warn:
            return "Warn: ";
        case LogLevel::Info:
        case LogLevel::Debug:
            return "";
    }
    return "";
}

void write_line(LogLevel level, std::string_view line) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - kStart;
    const std::string text = fmt::format("({:09.6f}) {}{}\n", elapsed.count(), prefix(level), line);
    // A log that cannot be written must not stop a restore.
    static_cast<void>(os::write_all(g_log_fd, os::as_bytes(text)));
}

}  // namespace

Result<> open_log(int directory, const std::string& path, int verbosity) {
    if (path == "-") {
        g_log_fd = STDOUT_FILENO;
    } else if (!path.empty()) {
        os::UniqueFd file = TRY(
            with_context(os::openat(directory, path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600),
                         "log file"));
        g_log_fd = file.release();
    }
    set_log(write_line, static_cast<LogLevel>(std::clamp(verbosity, 1, 4)));
    return {};
}

bool log_is_standard_error() {
    return g_log_fd == STDERR_FILENO;
}

}  // namespace ferry::cli
