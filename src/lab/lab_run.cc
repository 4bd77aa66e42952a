#include "lab/lab_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "lab/client_record.h"
#include "lab/crossing.h"
#include "lab/crossing_record.h"
#include "lab/dirty_run.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/link_rate.h"
#include "lab/machine.h"
#include "lab/record_figures.h"
#include "lab/report.h"
#include "lab/sampler.h"
#include "lab/site_bundle.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
// Of load before the first crossing, between crossings, and after the last.
constexpr milliseconds kCalm{3000};
// A crossing's window of the clients begins this long before it and ends this long after it.
constexpr milliseconds kMargin{500};

struct Scenario {
    std::size_t sites = 1;
    int start = 1;
    std::vector<int> ways;  // platforms that everything goes to, one after the other
};

Scenario scenario_of(const std::string& number) {
    if (number == "2") return {.sites = 1, .start = 2, .ways = {1}};
    if (number == "3") return {.sites = 1, .start = 1, .ways = {2, 1}};
    if (number == "4") return {.sites = 3, .start = 1, .ways = {2, 1}};
    return {.sites = 1, .start = 1, .ways = {2}};
}

std::string text_of(double ms) {
    return ms < 10 ? fmt::format("{:.1f} ms", ms) : fmt::format("{:.0f} ms", ms);
}

// One scenario, once.
class ScenarioRun {
  public:
    ScenarioRun(const LabRunOptions& options, const std::string& number, Method method, int run,
                InterruptGuard& guard, Display& display)
        : options_(options), scenario_(scenario_of(number)), guard_(guard), display_(display) {
        record_.scenario = number;
        record_.method = method;
        record_.number = run;
    }

    // What went wrong in the lab, not in what it measures.
    Result<RunRecord> conduct() {
        TRY(set_up());
        TRY(lab_->start_sampling(clock_));
        std::this_thread::sleep_for(kCalm);
        for (const int to : scenario_.ways) {
            for (const std::vector<std::size_t>& sites : crossings()) TRY(cross(sites, to));
            std::this_thread::sleep_for(kCalm);
        }
        TRY(finish());
        record_.series = lab_->stop_sampling();
        add_client_series();
        record_.duration_ns = clock_.now_ns();
        return std::move(record_);
    }

  private:
    std::string title() const {
        return fmt::format("scenario {}, {}, run {}", record_.scenario, name_of(record_.method),
                           record_.number);
    }

    Result<> set_up() {
        display_.progress(title() + ": starting the platforms and sites");
        lab_ = TRY(SiteLab::create(options_.lab, guard_));
        TRY(lab_->start_sites(scenario_.sites, scenario_.start));
        clock_ = RunClock();
        TRY(lab_->start_clients());
        mark(fmt::format("{} answering on platform {}",
                         scenario_.sites == 1 ? "the site is" : "the sites are", scenario_.start));
        return {};
    }

    void mark(std::string text) { record_.marks.push_back({clock_.now_ns(), std::move(text)}); }

    void fail_run(const std::string& why) {
        if (record_.error.empty()) record_.error = why;
    }

    // What moves at once, in order.
    std::vector<std::vector<std::size_t>> crossings() const {
        std::vector<std::vector<std::size_t>> all(options_.sequential ? lab_->sites() : 1);
        for (std::size_t site = 0; site < lab_->sites(); ++site) {
            all[options_.sequential ? site : 0].push_back(site);
        }
        return all;
    }

    std::string names(const std::vector<std::size_t>& sites) const {
        std::vector<std::string> names;
        for (const std::size_t site : sites) names.push_back(lab_->name(site));
        return fmt::format("{}", fmt::join(names, ", "));
    }

    Result<> cross(const std::vector<std::size_t>& sites, int to) {
        const int from = lab_->platform_of(sites.front());
        const std::string way = fmt::format("{} from platform {} to {}", names(sites), from, to);
        display_.progress(fmt::format("{}: {}", title(), way));
        const Moment begin = std::chrono::steady_clock::now() - kMargin;
        const MemoryRecord before[2] = {lab_->memory(from), lab_->memory(to)};
        std::vector<std::uint64_t> own_before;
        for (const std::size_t site : sites) own_before.push_back(TRY(lab_->service_memory(site)));
        const auto reports = TRY(lab_->move(sites, to, record_.method));
        const std::int64_t ended_ns = clock_.now_ns();
        std::this_thread::sleep_for(kMargin);
        const std::array<MemoryRecord, 2> after = {lab_->memory(from), lab_->memory(to)};
        const ClientRecord clients =
            client_record(clients_between(begin, std::chrono::steady_clock::now()), clock_);
        for (std::size_t i = 0; i < sites.size(); ++i) {
            CrossingRecord crossing = crossing_record(
                reports[i], {.number = static_cast<int>(record_.crossings.size()) + 1,
                             .from = from,
                             .to = to,
                             .containers = {lab_->name(sites[i])},
                             .ended_ns = ended_ns});
            set_memory(crossing, before, after);
            if (reports[i].succeeded) {
                crossing.service_memory_before = own_before[i];
                crossing.service_memory_after = TRY(lab_->service_memory(sites[i]));
            }
            crossing.clients = clients;
            record_.crossings.push_back(std::move(crossing));
        }
        tell_crossing(way, reports, clients);
        return {};
    }

    void tell_crossing(const std::string& way, const std::vector<migrate::Report>& reports,
                       const ClientRecord& clients) {
        const auto failed = std::ranges::find(reports, false, &migrate::Report::succeeded);
        const bool all = failed == reports.end();
        mark(all ? way : way + " failed");
        if (!all) {
            fail_run(way + ": " + failed->error);
            return display_.print(fmt::format("    {}: {}\n", way, failed->error));
        }
        const auto longest = [&](double migrate::Report::* what) {
            return text_of(std::ranges::max(reports, {}, what).*what);
        };
        display_.print(fmt::format("    {}: frozen {}, in all {}; longest pause of a client {}\n",
                                   way, longest(&migrate::Report::frozen_ms),
                                   longest(&migrate::Report::total_ms),
                                   text_of(clients.longest_pause_ms.value_or(0))));
    }

    static void set_memory(CrossingRecord& crossing, const MemoryRecord (&before)[2],
                           const std::array<MemoryRecord, 2>& after) {
        for (PhaseRecord& phase : crossing.phases) {
            if (phase.platform == 0) continue;
            const std::size_t side = phase.platform == crossing.from ? 0 : 1;
            phase.memory_before = before[side];
            phase.memory_after = after[side];
        }
    }

    ClientFigures clients_between(Moment begin, Moment end) {
        ClientFigures figures;
        for (std::size_t site = 0; site < lab_->sites(); ++site) {
            figures.http.push_back(lab_->http(site).window(begin, end));
            figures.udp.push_back(lab_->probe(site).window(begin, end));
        }
        return figures;
    }

    Result<> finish() {
        display_.progress(title() + ": waiting for the last answers, looking for every comment");
        for (std::size_t site = 0; site < lab_->sites(); ++site) {
            clients_.http.push_back(lab_->http(site).stop());
            clients_.udp.push_back(lab_->probe(site).stop());
            clients_.comments.push_back(lab_->http(site).check(TRY(lab_->new_comments(site))));
            if (const int copies = TRY(lab_->copies(site)); copies != 1) {
                fail_run(fmt::format("{} runs {} times", lab_->name(site), copies));
            }
            if (!clients_.http.back().good()) {
                fail_run(fmt::format("{}: {} requests failed, {} connections broke; first: {}",
                                     lab_->name(site), clients_.http.back().failed,
                                     clients_.http.back().broken_connections,
                                     lab_->http(site).first_failure()));
            }
            const CommentCheck& comments = clients_.comments.back();
            if (!comments.good()) {
                fail_run(fmt::format("{}: of {} acknowledged comments {} are lost, {} doubled",
                                     lab_->name(site), comments.acknowledged, comments.lost,
                                     comments.doubled));
            }
        }
        record_.clients = client_record(clients_, clock_);
        record_.succeeded = record_.error.empty();
        return {};
    }

    void add_client_series() {
        const auto add = [this](std::vector<Series> more) {
            record_.series.insert(record_.series.end(), std::make_move_iterator(more.begin()),
                                  std::make_move_iterator(more.end()));
        };
        for (std::size_t site = 0; site < clients_.http.size(); ++site) {
            add(http_series(clients_.http[site], clock_, lab_->name(site)));
            add(udp_series(clients_.udp[site], clock_, lab_->name(site)));
        }
    }

    const LabRunOptions& options_;
    const Scenario scenario_;
    InterruptGuard& guard_;
    Display& display_;
    RunClock clock_;
    RunRecord record_;
    ClientFigures clients_;
    std::unique_ptr<SiteLab> lab_;
};

SettingsRecord settings_of(const LabRunOptions& options, bool with_sites,
                           const DirtyOptions& dirty) {
    SettingsRecord settings;
    settings.command_line = options.command_line;
    settings.service = options.bundle.empty()
                           ? "WordPress: nginx, PHP-FPM, MariaDB in one container"
                           : options.bundle;
    if (!with_sites) {
        settings.service = fmt::format("a program that writes {} MiB at {:.0f} MiB/s", dirty.mib,
                                       dirty.mib_per_second);
    }
    settings.runs = options.runs;
    for (const int number : {1, 2}) {
        const PlatformSize size = with_sites ? options.lab.platforms[number - 1] : PlatformSize{};
        PlatformRecord platform = {
            .number = number, .name = fmt::format("platform{}", number), .cpus = {}, .memory = {}};
        if (options.lab.hosts) {
            platform.name = options.lab.hosts->destinations[number - 1];
            settings.platforms.push_back(platform);
            continue;
        }
        if (size.cpus > 0) platform.cpus = size.cpus;
        if (size.memory > 0) platform.memory = size.memory;
        settings.platforms.push_back(platform);
    }
    if (with_sites) settings.requests_per_second = options.lab.requests_per_second;
    settings.probes_per_second = 1e6 / static_cast<double>(UdpProbeOptions{}.interval.count());
    settings.sample_interval_ms = static_cast<double>(Sampler::kInterval.count());
    settings.shared_storage = options.lab.shared_storage;
    return settings;
}

void print_end(const RunRecord& run, Display& display) {
    const auto pause = longest_pause(run);
    display.print(
        fmt::format("    {}; longest pause {}\n",
                    run.succeeded ? "nothing failed, nothing was lost" : "NOT good: " + run.error,
                    pause ? text_of(*pause) : "-"));
}

}  // namespace

Result<bool> run_lab(const LabRunOptions& given) {
    LabRunOptions options = given;
    InterruptGuard guard;
    Display display;
    const bool with_sites = std::ranges::any_of(
        options.scenarios, [](const std::string& scenario) { return scenario != "dirty"; });
    if (with_sites && options.bundle.empty()) {
        const SiteBundle site =
            TRY(build_site({.cache = options.cache}, guard, [&](const std::string& text) {
                display.progress("the site: " + text);
            }));
        options.lab.bundle = site.directory;
    } else {
        options.lab.bundle = options.bundle;
    }
    LabRecord record;
    record.machine = describe_machine();
    record.machine.versions = program_versions(options.lab.bundle + "/rootfs");
    double link = options.lab.link_bits_per_second;
    if (link <= 0 && std::ranges::count(options.scenarios, "dirty") > 0) {
        link = TRY(measure_link(options.lab, options.cache, guard, display));
    }
    const DirtyOptions dirty = dirty_options(link, options.cache);
    record.settings = settings_of(given, with_sites, dirty);
    if (link > 0) record.settings.link_bits_per_second = link;
    bool good = true;
    for (const std::string& scenario : options.scenarios) {
        for (const Method method : options.methods) {
            // It is about the rounds of the live method.
            if (scenario == "dirty" && method != Method::Live) continue;
            for (int run = 1; run <= options.runs; ++run) {
                display.print(fmt::format("scenario {}, method {}, run {} of {}\n", scenario,
                                          name_of(method), run, options.runs));
                record.runs.push_back(
                    scenario == "dirty"
                        ? TRY(run_dirty(options.lab, dirty, run, guard, display))
                        : TRY(ScenarioRun(options, scenario, method, run, guard, display)
                                  .conduct()));
                print_end(record.runs.back(), display);
                good = good && record.runs.back().succeeded;
            }
        }
    }
    display.progress("drawing the report");
    display.print("report: " + TRY(write_lab_report(record, options.directory)) + "\n");
    return good;
}

}  // namespace ferry::lab
