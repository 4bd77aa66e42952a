// ferry check: what this kernel allows.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "features/features.h"

namespace ferry::cli {
namespace {

struct CheckOptions {
    std::vector<std::string> features;
    int verbosity = 2;
};

Result<int> check_features(const std::vector<std::string>& names) {
    bool all = true;
    for (const std::string& name : names) {
        const features::Feature feature = TRY(features::probe_one(name));
        if (feature.available) continue;
        all = false;
        fmt::print(stderr, "ferry: {} is not available: {}\n", feature.name, feature.reason);
    }
    return all ? kExitOk : kExitFailure;
}

Result<int> check(const CheckOptions& options) {
    if (!options.features.empty()) return check_features(options.features);
    const features::KernelFeatures features = features::probe();
    fmt::print("{}", features::to_table(features));
    if (!features.ready_for(features::Need::Always)) {
        fmt::print(stderr, "ferry: this kernel, or what this process may do, is not enough\n");
        return kExitFailure;
    }
    const bool live = features.ready_for(features::Need::Live);
    fmt::print("Looks good{}.\n", live ? "" : ", but for live migration");
    return kExitOk;
}

}  // namespace

void add_check(CLI::App& app, Invocation& invocation) {
    CLI::App* verb = app.add_subcommand("check", "Say what this kernel allows");
    auto options = std::make_shared<CheckOptions>();
    verb->add_option("--feature", options->features, "Check only this feature; may be repeated");
    verb->add_option("--verbosity", options->verbosity, "As for the other verbs")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    for (const char* without_effect :
         {"--no-default-config", "--all", "--extra", "--experimental", "--unprivileged"}) {
        verb->add_flag(without_effect)->group("");
    }
    verb->callback(
        [options, &invocation] { invocation.run = [options] { return check(*options); }; });
}

}  // namespace ferry::cli
