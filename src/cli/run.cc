// What the programs `ferry` and `ferry-agents` share: finds the verb, runs it, prints its error as
// one line.
#include "cli/run.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/log_file.h"

namespace ferry::cli {
namespace {

int report(const Error& error) {
    fmt::print(stderr, "ferry: {}\n", error.message());
    if (!log_is_standard_error()) log_error("{}", error.describe());
    return error.kind() == Error::Kind::Invalid ? kExitUsage : kExitFailure;
}

}  // namespace

int run(std::span<const AddVerb> verbs, const std::vector<std::string>& arguments) {
    CLI::App app("Ferry moves running process trees between hosts, connections included.", "ferry");
    app.set_version_flag("--version,-V", "ferry " FERRY_VERSION);
    app.require_subcommand(1);
    app.fallthrough(false);
    Invocation invocation;
    for (const AddVerb add : verbs) add(app, invocation);
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

}  // namespace ferry::cli
