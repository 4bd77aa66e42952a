#include "lab/link_rate.h"

#include <fmt/format.h>

#include <algorithm>

#include "lab/writer_service.h"

namespace ferry::lab {
namespace {

// Some tenths of a second at 10 Gbit/s, a minute at 10 Mbit/s.
constexpr std::uint64_t kMib = 128;

// Bytes per second; 0 if no round tells.
double rate_of(const migrate::Report& report) {
    double rate = 0;
    for (const migrate::Round& round : report.rounds) {
        if (!round.in_freeze) rate = std::max(rate, round.bandwidth);
    }
    return rate;
}

}  // namespace

Result<double> measure_link(const SiteLabOptions& options, const std::string& cache,
                            InterruptGuard& guard, Display& display) {
    display.progress("measuring the link between the platforms");
    const auto lab =
        TRY(start_writer(options, {.mib = kMib, .mib_per_second = 0, .cache = cache}, guard));
    double rate = 0;
    for (const int to : {2, 1}) {
        const migrate::Report report = TRY(lab->move({0}, to, Method::Live)).front();
        if (!report.succeeded) {
            return fail(Error::peer("the link was not measured: " + report.error));
        }
        rate = std::max(rate, rate_of(report));
    }
    if (rate <= 0) {
        return fail(Error::peer("the link was not measured; --rate says what it carries"));
    }
    display.print(fmt::format("the link carries {:.0f} MiB/s (measured)\n", rate / (1 << 20)));
    return 8 * rate;
}

}  // namespace ferry::lab
