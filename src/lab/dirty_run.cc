#include "lab/dirty_run.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "lab/client_record.h"
#include "lab/crossing.h"
#include "lab/crossing_record.h"
#include "lab/sampler.h"
#include "lab/site.h"
#include "lab/two_platforms.h"
#include "lab/udp_probe.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kTimeout{20000};
constexpr milliseconds kMigrateTimeout{300000};
constexpr milliseconds kCalm{1000};
constexpr milliseconds kRetry{50};
constexpr const char* kProgram = "ferry-dirty-writer";
const std::string kResult = std::string(kSharedDirectory) + "/dirty-result";
// What the kernel keeps of its name (TASK_COMM_LEN).
const std::string kCommand = std::string(kProgram).substr(0, 15);

class DirtyRun {
  public:
    DirtyRun(const DirtyOptions& options, int number, InterruptGuard& guard, Display& display)
        : options_(options), guard_(guard), display_(display) {
        record_.scenario = "dirty";
        record_.number = number;
    }
    DirtyRun(const DirtyRun&) = delete;
    DirtyRun& operator=(const DirtyRun&) = delete;
    ~DirtyRun() { guard_.watch(nullptr); }

    Result<RunRecord> conduct() {
        TRY(set_up());
        Sampler sampler(clock_, sources());
        std::this_thread::sleep_for(kCalm);
        TRY(cross(0, 1, "stop-copy"));
        std::this_thread::sleep_for(kCalm);
        if (record_.error.empty()) TRY(cross(1, 0, "throttle"));
        std::this_thread::sleep_for(kCalm);
        TRY(finish());
        record_.series = sampler.stop();
        for (Series& more : udp_series(clients_.udp[0], clock_, "writer")) {
            record_.series.push_back(std::move(more));
        }
        record_.duration_ns = clock_.now_ns();
        return std::move(record_);
    }

  private:
    Result<> set_up() {
        display_.progress("dirty: starting the platforms and the service");
        lab_ = TRY(TwoPlatforms::create());
        guard_.watch(&lab_->world());
        Host& host = lab_->world().host(0);
        TRY(add_service_interface(host, {}));
        for (const std::size_t i : {0u, 1u}) {
            TRY(limit_rate(lab_->world().host(i), options_.link_bits_per_second));
        }
        const std::string program = TRY(program_directory()) + "/" + kProgram;
        const std::string ip = lab_->service_address().ip;
        TRY(host.run_checked({program, fmt::format("{}", options_.mib),
                              fmt::format("{}", options_.mib_per_second), ip, kResult},
                             kTimeout));
        const std::vector<Pid> started = TRY(processes_named(host, kCommand));
        if (started.size() != 1) {
            return fail(Error::peer(fmt::format("{} runs {} times", kProgram, started.size())));
        }
        service_ = started.front();
        clock_ = RunClock();
        probe_ = TRY(UdpProbe::start(lab_->client(), {.ip = ip, .port = kSiteEchoPort}));
        record_.marks.push_back(
            {clock_.now_ns(), fmt::format("{} MiB are written at {:.0f} MiB/s on platform 1",
                                          options_.mib, options_.mib_per_second)});
        return {};
    }

    std::vector<SampleSource> sources() {
        std::vector<SampleSource> sources;
        for (const int number : {1, 2}) {
            const Host& host = lab_->world().host(static_cast<std::size_t>(number - 1));
            const auto groups = host.cgroup().directories();
            sources.push_back(group_memory(Quantity::HostMemory, number, "host", groups));
            sources.push_back(group_cpu(number, "host", groups));
            sources.push_back(
                network_device(number, "eth0", fmt::format("/proc/{}/net", host.init_pid())));
        }
        return sources;
    }

    Result<> cross(std::size_t from, std::size_t to, const std::string& choice) {
        const std::string way =
            fmt::format("from platform {} to {}, --on-no-convergence {}", from + 1, to + 1, choice);
        display_.progress("dirty: " + way);
        const Platform& platform = lab_->platform(from);
        const std::uint64_t memory_before = TRY(service_memory(from));
        const auto begun = std::chrono::steady_clock::now();
        const CommandResult result = TRY(platform.run_ferry(
            {"migrate", fmt::format("{}", service_.value), "--to", lab_->platform(to).address(),
             "--on-no-convergence", choice, "--json"},
            kMigrateTimeout));
        const migrate::Report report = find_report(result);
        CrossingRecord crossing =
            crossing_record(report, {.number = static_cast<int>(record_.crossings.size()) + 1,
                                     .from = static_cast<int>(from) + 1,
                                     .to = static_cast<int>(to) + 1,
                                     .containers = {},
                                     .ended_ns = clock_.now_ns()});
        crossing.method_change = method_change(report, clock_.at_ns(begun));
        std::this_thread::sleep_for(kCalm);
        if (report.succeeded) {
            crossing.service_memory_before = memory_before;
            crossing.service_memory_after = TRY(service_memory(to));
        }
        ClientFigures clients;
        clients.udp = {probe_->window(begun, std::chrono::steady_clock::now())};
        crossing.clients = client_record(clients, clock_);
        if (!report.succeeded) record_.error = way + ": " + report.error;
        display_.print(fmt::format(
            "    {}: {}\n", way,
            report.succeeded
                ? fmt::format(
                      "{} rounds, frozen {:.0f} ms, in all {:.1f} s; {}", report.rounds.size(),
                      report.frozen_ms, report.total_ms / 1000,
                      crossing.method_change
                          ? fmt::format("after round {} {} for {}",
                                        crossing.method_change->after_round,
                                        crossing.method_change->from, crossing.method_change->to)
                          : "pre-copy won")
                : report.error));
        record_.crossings.push_back(std::move(crossing));
        return {};
    }

    Result<std::uint64_t> service_memory(std::size_t platform) {
        const Host& host = lab_->world().host(platform);
        std::uint64_t bytes = 0;
        for (const Pid pid : TRY(processes_named(host, kCommand))) {
            bytes += proportional_memory(host.path(fmt::format("/proc/{}", pid)));
        }
        return bytes;
    }

    // The service looks at its own memory and tells.
    Result<> finish() {
        clients_.udp = {probe_->stop()};
        record_.clients = client_record(clients_, clock_);
        int copies = 0;
        for (const std::size_t i : {0u, 1u}) {
            const Host& host = lab_->world().host(i);
            for (const Pid pid : TRY(processes_named(host, kCommand))) {
                ++copies;
                TRY(host.run_checked({"kill", "-TERM", fmt::format("{}", pid.value)}, kTimeout));
            }
        }
        const Host& any = lab_->client();
        const auto end = std::chrono::steady_clock::now() + kTimeout;
        std::string verdict;
        while (verdict.empty() && std::chrono::steady_clock::now() < end) {
            std::this_thread::sleep_for(kRetry);
            verdict = TRY(any.run({"cat", kResult}, kTimeout)).out;
        }
        if (copies != 1) record_.error = fmt::format("the service runs {} times", copies);
        if (record_.error.empty() && !verdict.starts_with("PASS")) {
            record_.error = verdict.empty() ? "the service says nothing at its end" : verdict;
        }
        record_.succeeded = record_.error.empty();
        return {};
    }

    const DirtyOptions& options_;
    InterruptGuard& guard_;
    Display& display_;
    RunClock clock_;
    RunRecord record_;
    ClientFigures clients_;
    Pid service_;
    std::unique_ptr<TwoPlatforms> lab_;
    std::unique_ptr<UdpProbe> probe_;
};

}  // namespace

Result<RunRecord> run_dirty(const DirtyOptions& options, int number, InterruptGuard& guard,
                            Display& display) {
    DirtyRun run(options, number, guard, display);
    return run.conduct();
}

}  // namespace ferry::lab
