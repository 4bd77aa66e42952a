// ferry pki: the keys with which agents know each other.
#include "net/pki.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"

namespace ferry::cli {
namespace {

struct Options {
    std::string directory = net::kPkiDirectory;
    bool force = false;
    net::HostCertificate host;
    [[nodiscard]] net::Overwrite overwrite() const {
        return force ? net::Overwrite::Yes : net::Overwrite::No;
    }
};

void add_common(CLI::App* command, const std::shared_ptr<Options>& options) {
    command->add_option("--dir", options->directory, "Directory of the keys")
        ->capture_default_str();
    command->add_flag("--force", options->force, "Replace what is there");
}

}  // namespace

void add_pki(CLI::App& app, Invocation& invocation) {
    const auto options = std::make_shared<Options>();
    CLI::App* const pki = app.add_subcommand("pki", "Make the keys of agents");
    pki->require_subcommand(1);

    CLI::App* const init = pki->add_subcommand("init", "Make a certificate authority");
    add_common(init, options);
    init->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            TRY(net::init_pki(options->directory, options->overwrite()));
            fmt::print("{0}/ca.crt is for every host; {0}/ca.key stays here\n", options->directory);
            return kExitOk;
        };
    });

    CLI::App* const issue = pki->add_subcommand("issue", "Make key and certificate of a host");
    issue->add_option("HOST", options->host.name, "Name of the host, as in --to and ferryd --name")
        ->required();
    issue->add_option("--also", options->host.also, "Another name or an IP address of the host");
    add_common(issue, options);
    issue->callback([options, &invocation] {
        invocation.run = [options]() -> Result<int> {
            TRY(net::issue_certificate(options->directory, options->host, options->overwrite()));
            fmt::print("{0}/{1}.crt and {0}/{1}.key are for {1}\n", options->directory,
                       options->host.name);
            return kExitOk;
        };
    });
}

}  // namespace ferry::cli
