#include "lab/dirty_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "lab/client_record.h"
#include "lab/crossing_record.h"
#include "lab/sampler.h"
#include "lab/site.h"
#include "lab/writer_service.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kCalm{1000};
// Faster than the link, and not so much faster that the whole memory is written in every round.
constexpr double kTimesLink = 2.5;
// More than the engine's limit of the downtime on any link; below it nothing would be shown.
constexpr double kSecondsOfLink = 2;
constexpr double kMibMin = 64, kMibMax = 8192;

class DirtyRun {
  public:
    DirtyRun(const SiteLabOptions& lab, const DirtyOptions& options, int number,
             InterruptGuard& guard, Display& display)
        : lab_options_(lab), options_(options), guard_(guard), display_(display) {
        record_.scenario = "dirty";
        record_.number = number;
    }

    Result<RunRecord> conduct() {
        TRY(set_up());
        TRY(lab_->start_sampling(clock_));
        std::this_thread::sleep_for(kCalm);
        TRY(cross(2, "stop-copy"));
        std::this_thread::sleep_for(kCalm);
        if (record_.error.empty()) TRY(cross(1, "throttle"));
        std::this_thread::sleep_for(kCalm);
        TRY(finish());
        record_.series = lab_->stop_sampling();
        for (Series& more : udp_series(clients_.udp[0], clock_, "writer")) {
            record_.series.push_back(std::move(more));
        }
        record_.duration_ns = clock_.now_ns();
        return std::move(record_);
    }

  private:
    Result<> set_up() {
        display_.progress("dirty: starting the platforms and the service");
        lab_ = TRY(start_writer(lab_options_,
                                {.mib = options_.mib,
                                 .mib_per_second = options_.mib_per_second,
                                 .cache = options_.cache},
                                guard_));
        clock_ = RunClock();
        probe_ =
            TRY(UdpProbe::start(lab_->client(), {.ip = lab_->address(0), .port = kSiteEchoPort}));
        record_.marks.push_back(
            {clock_.now_ns(), fmt::format("{} MiB are written at {:.0f} MiB/s on platform 1",
                                          options_.mib, options_.mib_per_second)});
        return {};
    }

    Result<> cross(int to, const std::string& choice) {
        const int from = lab_->platform_of(0);
        const std::string way =
            fmt::format("from platform {} to {}, --on-no-convergence {}", from, to, choice);
        display_.progress("dirty: " + way);
        const std::uint64_t memory_before = TRY(lab_->service_memory(0));
        const auto begun = std::chrono::steady_clock::now();
        const migrate::Report report =
            TRY(lab_->move({0}, to, Method::Live, {"--on-no-convergence", choice})).front();
        CrossingRecord crossing =
            crossing_record(report, {.number = static_cast<int>(record_.crossings.size()) + 1,
                                     .from = from,
                                     .to = to,
                                     .containers = {lab_->name(0)},
                                     .ended_ns = clock_.now_ns()});
        crossing.method_change = method_change(report, clock_.at_ns(begun));
        std::this_thread::sleep_for(kCalm);
        if (report.succeeded) {
            crossing.service_memory_before = memory_before;
            crossing.service_memory_after = TRY(lab_->service_memory(0));
        }
        ClientFigures clients;
        clients.udp = {probe_->window(begun, std::chrono::steady_clock::now())};
        crossing.clients = client_record(clients, clock_);
        if (!report.succeeded) record_.error = way + ": " + report.error;
        tell(way, report, crossing.method_change);
        record_.crossings.push_back(std::move(crossing));
        return {};
    }

    void tell(const std::string& way, const migrate::Report& report,
              const std::optional<MethodChange>& change) {
        if (!report.succeeded)
            return display_.print(fmt::format("    {}: {}\n", way, report.error));
        display_.print(
            fmt::format("    {}: {} rounds, frozen {:.0f} ms, in all {:.1f} s; {}\n", way,
                        report.rounds.size(), report.frozen_ms, report.total_ms / 1000,
                        change ? fmt::format("after round {} {} for {}", change->after_round,
                                             change->from, change->to)
                               : "pre-copy won"));
    }

    // The service looks at its own memory and tells.
    Result<> finish() {
        clients_.udp = {probe_->stop()};
        record_.clients = client_record(clients_, clock_);
        const int copies = TRY(lab_->copies(0));
        const std::string wrong = TRY(end_writer(*lab_));
        if (copies != 1) record_.error = fmt::format("the service runs {} times", copies);
        if (record_.error.empty()) record_.error = wrong;
        record_.succeeded = record_.error.empty();
        return {};
    }

    const SiteLabOptions& lab_options_;
    const DirtyOptions& options_;
    InterruptGuard& guard_;
    Display& display_;
    RunClock clock_;
    RunRecord record_;
    ClientFigures clients_;
    std::unique_ptr<SiteLab> lab_;
    std::unique_ptr<UdpProbe> probe_;
};

}  // namespace

DirtyOptions dirty_options(double link_bits_per_second, std::string cache) {
    const double link = link_bits_per_second / 8 / (1 << 20);
    const double mib = std::clamp(kSecondsOfLink * link, kMibMin, kMibMax);
    return {.mib = static_cast<std::uint64_t>(mib),
            .mib_per_second = kTimesLink * link,
            .cache = std::move(cache)};
}

Result<RunRecord> run_dirty(const SiteLabOptions& lab, const DirtyOptions& options, int number,
                            InterruptGuard& guard, Display& display) {
    DirtyRun run(lab, options, number, guard, display);
    return run.conduct();
}

}  // namespace ferry::lab
