// The program `ferry`: finds the verb, runs it, prints its error as one line. Podman finds it in
// the place of its runtime where it dumps or restores one of Podman's containers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/log_file.h"
#include "container/podman_stand_in.h"

namespace ferry::cli {
namespace {

// One line for each verb.
constexpr AddVerb kVerbs[] = {
    add_dump,    add_restore, add_check, add_lab, add_migrate, add_status,
    add_history, add_abort,   add_agent, add_pki, add_swrk,
};

int report(const Error& error) {
    fmt::print(stderr, "ferry: {}\n", error.message());
    if (!log_is_standard_error()) log_error("{}", error.describe());
    return error.kind() == Error::Kind::Invalid ? kExitUsage : kExitFailure;
}

int run(const std::vector<std::string>& arguments) {
    CLI::App app("Ferry moves running process trees between hosts, connections included.", "ferry");
    app.set_version_flag("--version,-V", "ferry " FERRY_VERSION);
    app.require_subcommand(1);
    app.fallthrough(false);
    Invocation invocation;
    for (const AddVerb add : kVerbs) add(app, invocation);
    // CLI11 takes the words from the back.
    std::vector<std::string> words = rewrite_arguments(arguments);
    std::reverse(words.begin(), words.end());
    try {
        app.parse(std::move(words));
    } catch (const CLI::Success& success) {  // --help, --version
        return app.exit(success);
    } catch (const CLI::ParseError& error) {
        const bool unknown = !arguments.empty() && !arguments.front().starts_with('-') &&
                             app.get_subcommands().empty();
        const std::string what =
            unknown ? "there is no verb " + arguments.front() : std::string(error.what());
        fmt::print(stderr, "ferry: {} (see ferry --help)\n", what);
        return kExitUsage;
    }
    const Result<int> code = invocation.run();
    return code ? *code : report(code.error());
}

}  // namespace
}  // namespace ferry::cli

int main(int argc, char** argv) {
    using ferry::container::StandInFor;
    const auto stand_in = ferry::container::run_stand_in({argv, static_cast<std::size_t>(argc)},
                                                         StandInFor::PodmansPrograms);
    if (stand_in) return *stand_in;
    return ferry::cli::run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
