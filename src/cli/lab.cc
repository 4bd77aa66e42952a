// ferry lab: Ferry shown at work on platforms of this one machine.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/command.h"
#include "lab/bench.h"
#include "lab/demo.h"
#include "lab/display.h"
#include "lab/lab_run.h"
#include "lab/report.h"
#include "lab/sample_lines.h"
#include "lab/site_bench.h"
#include "lab/site_bundle.h"

namespace ferry::cli {
namespace {

void add_demo(CLI::App& lab, Invocation& invocation) {
    CLI::App* verb =
        lab.add_subcommand("demo", "A live Redis crosses to another platform and back");
    auto options = std::make_shared<lab::DemoOptions>();
    verb->add_option("--mib", options->mib, "Mebibytes of data in Redis")->capture_default_str();
    verb->add_option("--writes", options->writes_per_second, "Writes per second")
        ->check(CLI::Range(1.0, 1e6))
        ->capture_default_str();
    verb->add_option("--json", options->json_path, "Write the report to this file as well");
    verb->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            return TRY(lab::run_demo(*options)) ? kExitOk : kExitFailure;
        };
    });
}

void add_bench(CLI::App& lab, Invocation& invocation) {
    CLI::App* verb = lab.add_subcommand("bench", "Measure pauses, crossings, dump and restore");
    auto options = std::make_shared<lab::BenchOptions>();
    verb->add_option("--sizes", options->sizes_mib, "Mebibytes of data in Redis, one or several")
        ->capture_default_str();
    verb->add_option("--dump-mib", options->dump_mib, "Size for dump and restore; 0: leave it out")
        ->capture_default_str();
    verb->add_option("--writes", options->writes_per_second, "Writes per second")
        ->check(CLI::Range(1.0, 1e6))
        ->capture_default_str();
    verb->add_option("--criu", options->criu, "Measure this criu in the same run, for comparison");
    verb->add_option("--json", options->json_path, "Write the report to this file as well");
    struct Site {
        bool wanted = false;
        lab::SiteBenchOptions options;
    };
    auto site = std::make_shared<Site>();
    site->options.cache = lab::default_cache();
    verb->add_flag("--site", site->wanted,
                   "Instead: the lab's site into image files and back, beside runc with --criu");
    verb->add_option("--runs", site->options.runs, "With --site: how often")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    verb->callback([options, site, &invocation] {
        invocation.run = [options, site]() -> Result<int> {
            if (!site->wanted) return TRY(lab::run_bench(*options)) ? kExitOk : kExitFailure;
            site->options.criu = options->criu;
            site->options.json_path = options->json_path;
            return TRY(lab::run_site_bench(site->options)) ? kExitOk : kExitFailure;
        };
    });
}

// For `lab run` on real machines, which starts it over ssh.
void add_sample(CLI::App& lab, Invocation& invocation) {
    CLI::App* verb = lab.add_subcommand("sample", "Print samples of this machine until stdin ends");
    verb->group("");  // hidden
    struct Options {
        lab::SampleLinesOptions lines;
        int interval_ms = 100;
    };
    auto options = std::make_shared<Options>();
    verb->add_option("--runtime-root", options->lines.runtime_root)->required();
    verb->add_option("--device", options->lines.device)->required();
    verb->add_option("--container", options->lines.containers);
    verb->add_option("--interval", options->interval_ms)->check(CLI::Range(10, 60000));
    verb->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            options->lines.interval = std::chrono::milliseconds(options->interval_ms);
            TRY(lab::print_samples(options->lines));
            return kExitOk;
        };
    });
}

// Two real machines instead of platforms made here.
void add_hosts_options(CLI::App& verb, lab::HostsOptions& hosts) {
    auto* first = verb.add_option("--platform1", hosts.destinations[0],
                                  "Platform 1 is this machine, reached by ssh: [USER@]HOST[:PORT]");
    auto* second = verb.add_option("--platform2", hosts.destinations[1], "Platform 2");
    first->needs(second);
    second->needs(first);
    verb.add_option("--ssh-config", hosts.ssh_config, "ssh's configuration file")->needs(first);
    verb.add_option("--remote-ferry", hosts.ferry, "The program ferry on the platforms")
        ->needs(first)
        ->capture_default_str();
    verb.add_option("--runtime-root", hosts.runtime_root, "Where runc keeps its state there")
        ->needs(first)
        ->capture_default_str();
    verb.add_option("--bridge", hosts.bridge, "The bridge there that the sites are attached to")
        ->needs(first)
        ->capture_default_str();
    verb.add_option("--site-address", hosts.first_address,
                    "Of the first site, with prefix length; the others follow it")
        ->needs(first)
        ->capture_default_str();
    verb.add_option("--storage", hosts.storage, "Directory there for the sites' files")
        ->needs(first)
        ->capture_default_str();
}

std::string command_line_of(const lab::LabRunOptions& options,
                            const std::vector<std::string>& scenarios, const std::string& method) {
    std::string line = fmt::format("ferry lab run {} --method {}{}", fmt::join(scenarios, " "),
                                   method, options.sequential ? " --sequential" : "");
    if (!options.lab.hosts) return line;
    const auto& [first, second] = options.lab.hosts->destinations;
    return fmt::format("{} --platform1 {} --platform2 {}", line, first, second);
}

void add_run(CLI::App& lab, Invocation& invocation) {
    CLI::App* verb = lab.add_subcommand(
        "run", "Run the scenarios: sites in containers cross between two platforms under load");
    auto options = std::make_shared<lab::LabRunOptions>();
    options->cache = lab::default_cache();
    // Sizes of this machine's two processors: the second is the larger, as the paper's was.
    options->lab.platforms[0] = {.cpus = 1.5, .memory = 6ull << 30};
    options->lab.platforms[1] = {.cpus = 2, .memory = 8ull << 30};
    auto scenarios = std::make_shared<std::vector<std::string>>();
    auto rate = std::make_shared<double>(options->lab.link_bits_per_second / 1e9);
    verb->add_option(
            "SCENARIO", *scenarios,
            "1 (one site, platform 1 to 2), 2 (2 to 1), 3 (there and back), 4 (three "
            "sites there and back), dirty (memory written faster than the link carries it), or "
            "all")
        ->required()
        ->check(CLI::IsMember({"1", "2", "3", "4", "dirty", "all"}));
    auto method = std::make_shared<std::string>("live");
    verb->add_option("--method", *method,
                     "How they cross: live, checkpoint (through files, as the paper did), or both")
        ->check(CLI::IsMember({"live", "checkpoint", "both"}))
        ->capture_default_str();
    verb->add_option("--runs", options->runs, "Runs of each scenario and method")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    verb->add_flag("--sequential", options->sequential,
                   "Three sites move one after the other (default: together, as a group)");
    verb->add_option("--bundle", options->bundle,
                     "An OCI bundle that is run instead of the lab's own site");
    verb->add_option("--cache", options->cache, "Where built sites are kept")
        ->capture_default_str();
    const CLI::Option* const said_rate =
        verb->add_option("--rate", *rate,
                         "Of the network between the platforms, Gbit/s; 0: no limit. On real "
                         "machines: what it is, measured where it is not given")
            ->check(CLI::NonNegativeNumber)
            ->capture_default_str();
    verb->add_option("--requests", options->lab.requests_per_second,
                     "HTTP requests per second to each site")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    verb->add_flag("--shared-storage", options->lab.shared_storage,
                   "What the sites write lies where both platforms see it (default: each has its "
                   "own, and it crosses with the site)");
    verb->add_option("-o,--output", options->directory, "Directory of the report")
        ->capture_default_str();
    auto hosts = std::make_shared<lab::HostsOptions>();
    add_hosts_options(*verb, *hosts);
    verb->callback([options, scenarios, rate, said_rate, method, hosts, &invocation] {
        invocation.run = [options, scenarios, rate, known = said_rate->count() > 0, method,
                          hosts]() -> Result<int> {
            if (!hosts->destinations[0].empty()) options->lab.hosts = *hosts;
            if (options->lab.hosts && !known) *rate = 0;
            options->methods.clear();
            if (*method != "checkpoint") options->methods.push_back(lab::Method::Live);
            if (*method != "live") options->methods.push_back(lab::Method::Checkpoint);
            for (const std::string& wanted : *scenarios) {
                if (wanted == "all") {
                    options->scenarios.insert(options->scenarios.end(),
                                              {"1", "2", "3", "4", "dirty"});
                } else {
                    options->scenarios.push_back(wanted);
                }
            }
            options->lab.link_bits_per_second = *rate * 1e9;
            options->command_line = command_line_of(*options, *scenarios, *method);
            return TRY(lab::run_lab(*options)) ? kExitOk : kExitFailure;
        };
    });
}

void add_build(CLI::App& lab, Invocation& invocation) {
    CLI::App* verb =
        lab.add_subcommand("build", "Build the lab's site (nginx, PHP, MariaDB, WordPress)");
    auto options = std::make_shared<lab::SiteBuildOptions>();
    options->cache = lab::default_cache();
    verb->add_option("--cache", options->cache, "Where built sites are kept")
        ->capture_default_str();
    verb->add_option("--mirror", options->mirror, "Debian's archive")->capture_default_str();
    verb->add_flag("--rebuild", options->rebuild, "Build even what the cache has");
    verb->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            lab::InterruptGuard guard;
            lab::Display display;
            const lab::SiteBundle bundle = TRY(lab::build_site(
                *options, guard, [&](const std::string& text) { display.progress(text); }));
            display.print(
                bundle.was_cached
                    ? fmt::format("{} was there already\n", bundle.directory)
                    : fmt::format("{} built in {:.0f} s\n", bundle.directory, bundle.seconds));
            return kExitOk;
        };
    });
}

void add_report(CLI::App& lab, Invocation& invocation) {
    struct Options {
        std::string record, directory;
    };
    CLI::App* verb = lab.add_subcommand("report", "Make the report of a run again from its JSON");
    auto options = std::make_shared<Options>();
    verb->add_option("FILE", options->record, "The record: record.json of an earlier report")
        ->required();
    verb->add_option("-o,--output", options->directory,
                     "Directory of the report (default: that of FILE)");
    verb->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            const std::filesystem::path beside =
                std::filesystem::path(options->record).parent_path();
            if (options->directory.empty()) {
                options->directory = beside.empty() ? "." : beside.string();
            }
            const lab::LabRecord record = TRY(lab::load_record(options->record));
            fmt::print("{}\n", TRY(lab::write_lab_report(record, options->directory)));
            return kExitOk;
        };
    });
}

}  // namespace

void add_lab(CLI::App& app, Invocation& invocation) {
    CLI::App* verb = app.add_subcommand("lab", "Show Ferry at work on this one machine");
    verb->require_subcommand(1);
    add_demo(*verb, invocation);
    add_bench(*verb, invocation);
    add_build(*verb, invocation);
    add_run(*verb, invocation);
    add_report(*verb, invocation);
    add_sample(*verb, invocation);
}

}  // namespace ferry::cli
