#include "base/log.h"

#include <cstdio>

namespace ferry {
namespace {

void write_to_stderr(LogLevel level, std::string_view line) {
    static constexpr const char* kPrefix[] = {"", "Error: ", "Warn: ", "", ""};
    std::fprintf(stderr, "%s%.*s\n", kPrefix[static_cast<int>(level)],
                 static_cast<int>(line.size()), line.data());
}

LogSink g_sink = write_to_stderr;
LogLevel g_level = LogLevel::Warn;

}  // namespace

void set_log(LogSink sink, LogLevel up_to) {
    g_sink = sink != nullptr ? sink : write_to_stderr;
    g_level = up_to;
}

bool log_enabled(LogLevel level) {
    return level <= g_level;
}

void log_line(LogLevel level, std::string_view line) {
    g_sink(level, line);
}

}  // namespace ferry
