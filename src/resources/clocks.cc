#include "resources/clocks.h"

#include <fmt/format.h>
#include <time.h>

#include <cerrno>

#include "os/fd.h"
#include "os/task.h"
#include "proc/text.h"

namespace ferry::resources {
namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

// Seconds are rounded down, as in a timespec of a time before the epoch.
std::string line_of(const char* clock, std::int64_t offset) {
    std::int64_t seconds = offset / kNanosPerSecond, rest = offset % kNanosPerSecond;
    if (rest < 0) {
        --seconds;
        rest += kNanosPerSecond;
    }
    return fmt::format("{} {} {}\n", clock, seconds, rest);
}

std::uint64_t shifted(std::uint64_t time, std::int64_t from, std::int64_t to) {
    return time + static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from);
}

}  // namespace

Result<model::ClockTimes> clocks_now() {
    return model::ClockTimes{.monotonic_ns = TRY(os::clock_nanoseconds(CLOCK_MONOTONIC)),
                             .boottime_ns = TRY(os::clock_nanoseconds(CLOCK_BOOTTIME))};
}

Result<model::ClockOffsets> clock_offsets_of(Pid pid) {
    const auto text = os::read_file(fmt::format("/proc/{}/timens_offsets", pid));
    if (text) return parse_clock_offsets(*text);
    if (text.error().code() != ENOENT) return fail(text.error());
    if (os::read_file("/proc/self/timens_offsets")) return fail(Error::gone("no such process"));
    return model::ClockOffsets();
}

Result<model::ClockOffsets> parse_clock_offsets(std::string_view text) {
    model::ClockOffsets offsets;
    while (!text.empty()) {
        std::string_view line = proc::take_until(text, '\n');
        const std::string_view clock = proc::take_word(line);
        const auto seconds = proc::to_number<std::int64_t>(proc::take_word(line));
        const auto rest = proc::to_number<std::int64_t>(proc::take_word(line));
        constexpr std::int64_t kSecondsMax = std::int64_t{1} << 33;  // the kernel allows fewer
        if (!seconds || !rest || *seconds > kSecondsMax || *seconds < -kSecondsMax || *rest < 0 ||
            *rest >= kNanosPerSecond) {
            return fail(Error::corrupt(fmt::format("timens_offsets: \"{}\"", clock)));
        }
        const std::int64_t offset = *seconds * kNanosPerSecond + *rest;
        // Numbers where the kernel is older than 5.7.
        if (clock == "monotonic" || clock == "1") offsets.monotonic_ns = offset;
        if (clock == "boottime" || clock == "7") offsets.boottime_ns = offset;
    }
    return offsets;
}

std::string clock_offsets_text(const model::ClockOffsets& offsets) {
    static_assert(CLOCK_MONOTONIC == 1 && CLOCK_BOOTTIME == 7);
    return line_of("1", offsets.monotonic_ns) + line_of("7", offsets.boottime_ns);
}

model::ClockTimes seen_through(const model::ClockTimes& times, const model::ClockOffsets& from,
                               const model::ClockOffsets& to) {
    return {.monotonic_ns = shifted(times.monotonic_ns, from.monotonic_ns, to.monotonic_ns),
            .boottime_ns = shifted(times.boottime_ns, from.boottime_ns, to.boottime_ns)};
}

}  // namespace ferry::resources
