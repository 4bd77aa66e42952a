#include "lab/site_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "base/cleanup.h"
#include "base/elapsed.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/report_file.h"
#include "lab/site.h"
#include "lab/site_bundle.h"
#include "lab/site_lab.h"
#include "os/launch.h"
#include "os/paths.h"

namespace ferry::lab {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kTimeout{120000};
constexpr milliseconds kAnswerTimeout{20000};
// After the start, and after a restore: what the service does by itself then is over.
constexpr milliseconds kCalm{3000};
// On the world's tmpfs, so that no disk is measured.
constexpr const char* kImages = "/run/lab/images";

// Milliseconds of each run.
struct Times {
    std::vector<double> checkpoint, restore, answers;
};

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::ranges::sort(values);
    return values[values.size() / 2];
}

// CRIU locks the network with iptables, which a machine need not have, and runc has no option to
// choose otherwise. No client is connected, so nothing has to be locked.
constexpr const char* kWithoutIptables =
    "mkdir -p /run/lab/bin && cd /run/lab/bin && ln -sf /bin/true iptables-restore && "
    "ln -sf /bin/true ip6tables-restore";

// CRIU asks for resource limits by prlimit(2), which needs CAP_SYS_RESOURCE for processes of other
// users. To have a pair where that is missing, every user of the site is root, for both engines.
// $1: the bundle, $2: its copy, absent yet.
constexpr const char* kEverybodyRoot =
    "set -e; cp -a \"$1\" \"$2\"; cd \"$2/rootfs\"; "
    "sed -Ei 's/^(mysql|www-data):([^:]*):[0-9]+:[0-9]+:/\\1:\\2:0:0:/' etc/passwd; "
    "sed -Ei 's/^(mysql|www-data):([^:]*):[0-9]+:/\\1:\\2:0:/' etc/group; "
    // The database knows PHP by the name of its user: the first one of that number.
    "grep ^www-data etc/passwd > x; grep -v ^www-data etc/passwd >> x; mv x etc/passwd; "
    "for f in usr/sbin/php-fpm*; do mv $f $f.real; "
    "printf '#!/bin/sh\\nexec /%s.real -R \"$@\"\\n' $f > $f; chmod 755 $f; done";

class SiteBench {
  public:
    explicit SiteBench(const SiteBenchOptions& options) : options_(options) {}

    Result<bool> run() {
        lab_options_.bundle = options_.bundle;
        if (options_.bundle.empty()) {
            const auto site =
                TRY(build_site({.cache = options_.cache}, guard_, [&](const std::string& text) {
                    display_.progress("the site: " + text);
                }));
            lab_options_.bundle = site.directory;
        }
        std::string copy;
        const Cleanup remove_copy = [&copy] {
            std::error_code ignored;
            if (!copy.empty()) std::filesystem::remove_all(copy, ignored);
        };
        if (!options_.criu.empty()) {
            copy = TRY(os::mkdtemp("/var/tmp/ferry-bench-"));
            TRY(run_command(
                {"sh", "-c", kEverybodyRoot, "sh", lab_options_.bundle, copy + "/bundle"}));
            lab_options_.bundle = copy + "/bundle";
        }
        for (int run = 1; run <= options_.runs && error_.empty(); ++run) TRY(measure(run));
        print();
        if (!error_.empty()) {
            display_.print("NOT good: " + error_ + "\n");
            return false;
        }
        if (options_.json_path.empty()) return true;
        TRY(write_report(options_.json_path,
                         {{"ferry", json_of(ferry_)}, {"runc_criu", json_of(criu_)}}));
        return true;
    }

  private:
    static Result<> run_command(const std::vector<std::string>& command) {
        auto child = TRY(os::ChildProcess::start({.arguments = command}));
        const auto status = TRY(child.wait(kTimeout));
        if (status == 0) return {};
        return fail(Error::invalid(
            fmt::format("`{}` ended with {}", command.front(), status.value_or(-1))));
    }
    Result<> measure(int run) {
        display_.progress(fmt::format("run {} of {}: starting a site", run, options_.runs));
        const auto lab = TRY(SiteLab::create(lab_options_, guard_));
        TRY(lab->start_sites(1, 1));
        std::this_thread::sleep_for(kCalm);
        display_.progress(fmt::format("run {} of {}: Ferry", run, options_.runs));
        TRY(with_ferry(*lab));
        if (options_.criu.empty() || !error_.empty()) return {};
        std::this_thread::sleep_for(kCalm);
        display_.progress(fmt::format("run {} of {}: runc with CRIU", run, options_.runs));
        return with_criu(*lab);
    }

    // What it took; an ending that is not good is kept as the bench's.
    Result<double> timed(const Host& host, const std::vector<std::string>& command) {
        const Clock::time_point begun = Clock::now();
        const CommandResult result = TRY(host.run(command, kTimeout));
        const double took = elapsed_ms(begun);
        if (result.status != 0 && error_.empty()) {
            // CRIU's own reasons are in its log.
            const CommandResult log = TRY(host.run(
                {"sh", "-c", fmt::format("grep -h Error {}/*.log | tail -3", kImages)}, kTimeout));
            error_ = fmt::format("`{}` ended with {}: {}{}", fmt::join(command, " "), result.status,
                                 result.err, log.out);
        }
        return took;
    }
    Result<> with_ferry(SiteLab& lab) {
        Container& site = lab.container(0);
        const Platform& platform = lab.platform(1);
        const Host& host = platform.host();
        TRY(host.run_checked({"mkdir", "-p", kImages}, kTimeout));
        ferry_.checkpoint.push_back(
            TRY(timed(host, platform.ferry({"dump", site.name(), "--runtime-root", kRuncRoot, "-D",
                                            kImages, "--tcp-established", "--file-locks"}))));
        if (!error_.empty()) return {};
        const Clock::time_point begun = Clock::now();
        ferry_.restore.push_back(
            TRY(timed(host, platform.ferry({"restore", "-D", kImages, "--tcp-established",
                                            "--file-locks", "--restore-detached"}))));
        if (!error_.empty()) return {};
        TRY(wait_for_site(lab.client(), lab.address(0), kAnswerTimeout));
        ferry_.answers.push_back(elapsed_ms(begun));
        TRY(site.follow_to(host));
        TRY(host.run_checked({"rm", "-rf", kImages}, kTimeout));
        return {};
    }

    Result<> with_criu(SiteLab& lab) {
        const Container& site = lab.container(0);
        const Host& host = lab.platform(1).host();
        TRY(host.run_checked({"mkdir", "-p", kImages}, kTimeout));
        TRY(host.run_checked({"sh", "-c", kWithoutIptables}, kTimeout));
        const auto command = [&](const char* verb, std::vector<std::string> more) {
            std::vector<std::string> all = {
                "env",         "PATH=/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "runc",        "--root",
                kRuncRoot,     "--criu",
                options_.criu, verb};
            all.insert(all.end(),
                       {"--image-path", kImages, "--work-path", kImages, "--tcp-established",
                        "--file-locks", "--ext-unix-sk", "--empty-ns", "network"});
            all.insert(all.end(), more.begin(), more.end());
            all.push_back(site.name());
            return all;
        };
        criu_.checkpoint.push_back(TRY(timed(host, command("checkpoint", {}))));
        if (!error_.empty()) return {};
        criu_.restore.push_back(
            TRY(timed(host, command("restore", {"--detach", "--bundle", site.directory()}))));
        if (error_.empty() && TRY(site.status()) != "running") {
            error_ = "what CRIU has restored does not run";
        }
        return {};
    }

    void print() {
        const auto row = [&](const char* name, const Times& times) {
            display_.print(fmt::format("{:>12} {:>9.0f} ms {:>9.0f} ms {:>12}\n", name,
                                       median(times.checkpoint), median(times.restore),
                                       times.answers.empty()
                                           ? "no network"
                                           : fmt::format("{:.0f} ms", median(times.answers))));
        };
        display_.print(
            fmt::format("The site through image files in memory, {} runs, medians\n"
                        "{:>12} {:>12} {:>12} {:>12}\n",
                        options_.runs, "", "checkpoint", "restore", "answers"));
        row("Ferry", ferry_);
        if (options_.criu.empty()) return;
        row("runc + CRIU", criu_);
        display_.print(fmt::format("{:>12} {:>11.2f}x {:>11.2f}x\n", "Ferry takes",
                                   median(ferry_.checkpoint) / median(criu_.checkpoint),
                                   median(ferry_.restore) / median(criu_.restore)));
    }

    static nlohmann::json json_of(const Times& times) {
        return {{"checkpoint_ms", times.checkpoint},
                {"restore_ms", times.restore},
                {"answers_ms", times.answers}};
    }

    const SiteBenchOptions options_;
    SiteLabOptions lab_options_;
    InterruptGuard guard_;
    Display display_;
    Times ferry_, criu_;
    std::string error_;
};

}  // namespace

Result<bool> run_site_bench(const SiteBenchOptions& options) {
    SiteBench bench(options);
    return bench.run();
}

}  // namespace ferry::lab
