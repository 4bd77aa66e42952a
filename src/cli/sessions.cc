// ferry status, history and abort: what the agent of this host does and has done.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/client.h"
#include "cli/command.h"
#include "cli/units.h"

namespace ferry::cli {
namespace {

struct Options {
    std::string socket = agent::kControlSocket;
    bool json = false;
    unsigned limit = 20;
    std::string session;
};

void add_socket(CLI::App* command, const std::shared_ptr<Options>& options) {
    command->add_option("--socket", options->socket, "Unix socket of the agent")
        ->capture_default_str();
}

nlohmann::json json_of(const agent::SessionInfo& info) {
    nlohmann::json json = {
        {"session", info.id},
        {"group", info.group},
        {"role", agent::name_of(info.role)},
        {"service", info.service},
        {"source", info.source},
        {"destination", info.destination},
        {"state", migrate::name_of(info.state)},
        {"error", info.error},
        {"started_ms", info.started_ms},
        {"finished_ms", info.finished_ms},
    };
    if (!info.report.empty()) json["report"] = nlohmann::json::parse(info.report, nullptr, false);
    return json;
}

void print_sessions_json(const std::vector<agent::SessionInfo>& sessions) {
    nlohmann::json list = nlohmann::json::array();
    for (const agent::SessionInfo& info : sessions) list.push_back(json_of(info));
    fmt::print("{}\n", list.dump(2));
}

std::string local_time(std::int64_t ms) {
    const std::time_t seconds = ms / 1000;
    std::tm parts = {};
    ::localtime_r(&seconds, &parts);
    return fmt::format("{:%Y-%m-%d %H:%M:%S}", parts);
}

void print_line(const agent::SessionInfo& info) {
    fmt::print("{}  {}  {:11}  {:9}  {}: {} -> {}", info.id.substr(0, 8),
               local_time(info.started_ms), agent::name_of(info.role), migrate::name_of(info.state),
               info.service, info.source, info.destination);
    if (info.finished_ms != 0) {
        fmt::print("  {}",
                   milliseconds_text(static_cast<double>(info.finished_ms - info.started_ms)));
    }
    if (!info.error.empty()) fmt::print("  {}", info.error);
    fmt::print("\n");
}

Result<int> show_status(const Options& options) {
    auto client = TRY(agent::ControlClient::connect(options.socket));
    const auto status = TRY(client.status());
    if (options.json) {
        print_sessions_json(status.sessions);
        return kExitOk;
    }
    fmt::print("ferryd {} of {}, {} session{} under way\n", status.agent.version, status.agent.name,
               status.sessions.size(), status.sessions.size() == 1 ? "" : "s");
    for (const agent::SessionInfo& info : status.sessions) print_line(info);
    return kExitOk;
}

Result<int> show_history(const Options& options) {
    auto client = TRY(agent::ControlClient::connect(options.socket));
    const auto sessions = TRY(client.history(options.limit));
    if (options.json) {
        print_sessions_json(sessions);
        return kExitOk;
    }
    for (const agent::SessionInfo& info : sessions) print_line(info);
    return kExitOk;
}

Result<int> abort_session(const Options& options) {
    auto client = TRY(agent::ControlClient::connect(options.socket));
    const agent::SessionInfo info = TRY(client.abort(options.session));
    if (info.state == migrate::SessionState::Aborted) {
        fmt::print("session {} is aborted{}; {} runs on at {}\n", info.id.substr(0, 8),
                   info.group.empty() ? "" : " with all of its group", info.service, info.source);
        return kExitOk;
    }
    fmt::print("session {} was decided already: {}\n", info.id.substr(0, 8),
               migrate::name_of(info.state));
    return kExitFailure;
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("status", "Migrations under way on this host");
    add_socket(command, options);
    command->add_flag("--json", options->json, "As a JSON array");
    command->callback(
        [options, &invocation] { invocation.run = [options] { return show_status(*options); }; });
}

void add_history(CLI::App& app, Invocation& invocation) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("history", "Migrations that have ended");
    add_socket(command, options);
    command->add_flag("--json", options->json, "As a JSON array, with the whole reports");
    command->add_option("-n,--limit", options->limit, "The most recent ones; 0: all")
        ->capture_default_str();
    command->callback(
        [options, &invocation] { invocation.run = [options] { return show_history(*options); }; });
}

void add_abort(CLI::App& app, Invocation& invocation) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command =
        app.add_subcommand("abort", "End a migration under way; the service runs on at the source");
    add_socket(command, options);
    command->add_option("SESSION", options->session,
                        "Session, or the beginning of its id; not needed where there is only one");
    command->callback(
        [options, &invocation] { invocation.run = [options] { return abort_session(*options); }; });
}

}  // namespace ferry::cli
