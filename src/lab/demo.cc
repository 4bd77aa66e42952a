#include "lab/demo.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/cleanup.h"
#include "lab/display.h"
#include "lab/interrupt.h"
#include "lab/report_file.h"
#include "lab/two_platforms.h"
#include "lab/values.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kWarmUp{1000};

// One promise, checked.
struct Check {
    std::string promise;
    bool kept = false;
    std::string found;
};

std::vector<Check> judge(const std::vector<Crossing>& crossings, const Result<>& ended,
                         const Result<Verification>& verified) {
    std::vector<Check> checks;
    for (const Crossing& crossing : crossings) {
        checks.push_back({fmt::format("{} -> {} succeeded", crossing.from, crossing.to),
                          crossing.report.succeeded, crossing.report.error});
        checks.push_back({"exactly one copy ran afterwards", crossing.copies == 1,
                          fmt::format("{} redis-server processes", crossing.copies)});
    }
    checks.push_back(
        {"no connection broke", ended.has_value(), ended ? "" : ended.error().message()});
    const Verification found = verified.value_or(Verification{});
    checks.push_back({"no acknowledged write was lost",
                      verified && found.lost == 0 && found.foreign == 0,
                      verified ? fmt::format("{} of {} keys older than acknowledged, {} foreign",
                                             found.lost, found.keys_checked, found.foreign)
                               : verified.error().message()});
    checks.push_back({"every client read back what it wrote", verified && found.probe_errors == 0,
                      fmt::format("{} wrong replies", found.probe_errors)});
    return checks;
}

class Demo {
  public:
    explicit Demo(const DemoOptions& options) : options_(options) {}

    Result<bool> run() {
        const Cleanup unwatch = [&] { guard_.watch(nullptr); };
        TRY(set_up());
        std::vector<Crossing> crossings;
        crossings.push_back(TRY(cross(0, 1)));
        if (crossings[0].report.succeeded) crossings.push_back(TRY(cross(1, 0)));
        display_.progress("reading every key back");
        const Result<> ended = lab_->load().stop();
        const Result<Verification> verified =
            ended ? lab_->load().verify() : Result<Verification>(fail(ended.error()));
        const std::vector<Check> checks = judge(crossings, ended, verified);
        bool good = true;
        display_.print("Verified\n");
        for (const Check& check : checks) {
            good = good && check.kept;
            display_.print(fmt::format("    {} {}{}\n", check.kept ? "yes" : "NO ", check.promise,
                                       check.kept ? "" : ": " + check.found));
        }
        if (verified) {
            display_.print(fmt::format("    {} writes were acknowledged; {} keys were read back\n",
                                       human_count(verified->writes_acknowledged),
                                       human_count(verified->keys_checked)));
        }
        display_.print("next: `ferry lab run 3`, a site in a container, there and back\n");
        if (!options_.json_path.empty()) TRY(save(crossings, checks, verified, good));
        return good;
    }

  private:
    Result<> set_up() {
        display_.progress("setting up two platforms");
        lab_ = TRY(TwoPlatforms::create());
        guard_.watch(&lab_->world());
        const auto filling = [this](double share) {
            display_.progress(fmt::format("filling redis: {:.0f} %", share * 100));
        };
        TRY(lab_->start_service(options_.mib, {}, filling));
        LoadOptions load;
        load.writes_per_second = options_.writes_per_second;
        TRY(lab_->start_load(load));
        display_.print(fmt::format(
            "Redis with {} MiB in {} keys runs on {}; its clients write {:.0f} times a second\n",
            options_.mib, human_count(lab_->keys()), lab_->platform(0).name(),
            options_.writes_per_second));
        std::this_thread::sleep_for(kWarmUp);
        return {};
    }

    Result<Crossing> cross(std::size_t from, std::size_t to) {
        const std::string way =
            fmt::format("{} -> {}", lab_->platform(from).name(), lab_->platform(to).name());
        display_.progress(way);
        const auto on_progress = [&](const std::string& phase, int round, std::uint64_t sent) {
            display_.progress(fmt::format("{}: {}, round {}, {} sent; {} writes acknowledged", way,
                                          phase, round, human_bytes(sent),
                                          human_count(lab_->load().writes_acknowledged())));
        };
        Crossing crossing = TRY(lab_->migrate(from, to, {}, on_progress));
        display_.print(describe(crossing));
        return crossing;
    }

    Result<> save(const std::vector<Crossing>& crossings, const std::vector<Check>& checks,
                  const Result<Verification>& verified, bool good) {
        nlohmann::json report = {{"mib", options_.mib},
                                 {"keys", lab_->keys()},
                                 {"value_bytes", kValueBytes},
                                 {"writes_per_second", options_.writes_per_second},
                                 {"passed", good}};
        for (const Crossing& crossing : crossings) report["crossings"].push_back(to_json(crossing));
        if (verified) report["verification"] = to_json(*verified);
        for (const Check& check : checks) {
            report["checks"].push_back(
                {{"promise", check.promise}, {"kept", check.kept}, {"found", check.found}});
        }
        TRY(write_report(options_.json_path, report));
        display_.print(fmt::format("report: {}\n", options_.json_path));
        return {};
    }

    const DemoOptions options_;
    InterruptGuard guard_;
    Display display_;
    std::unique_ptr<TwoPlatforms> lab_;
};

}  // namespace

Result<bool> run_demo(const DemoOptions& options) {
    if (options.mib == 0) return fail(Error::invalid("the demo needs at least 1 MiB"));
    Demo demo(options);
    return demo.run();
}

}  // namespace ferry::lab
