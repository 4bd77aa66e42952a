// ferry migrate: asks the agent of this host to move a service, and shows how it goes.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "agent/client.h"
#include "base/cleanup.h"
#include "cli/command.h"
#include "cli/units.h"
#include "migrate/report.h"

namespace ferry::cli {
namespace {

using Json = nlohmann::json;

struct Options {
    std::vector<std::string> services;
    bool sequential = false;
    std::string socket = agent::kControlSocket;
    agent::MigrateOrder order;
    std::string method = "live";
    std::uint32_t max_downtime_ms = 50;
    std::uint32_t timeout_s = 0;
    std::string on_no_convergence = "stop-copy";
    std::string json;  // "", "object" or "lines"
};

// The progress of one migration, as one line that is written over again on a terminal and as a line
// per round elsewhere. On stderr: stdout is for results.
class Display {
  public:
    explicit Display(std::string json) : json_(std::move(json)), terminal_(::isatty(1) == 1) {}

    void started(const agent::SessionInfo& info) {
        if (!info.group.empty()) names_[info.id] = info.service + ": ";
        if (json_ == "lines") {
            line({{"event", "started"},
                  {"session", info.id},
                  {"service", info.service},
                  {"source", info.source},
                  {"destination", info.destination}});
        } else if (json_.empty()) {
            fmt::print("{}: {} -> {}, session {}\n", info.service, info.source, info.destination,
                       info.id.substr(0, 8));
        }
    }

    void progress(const std::string& session, const migrate::Progress& progress) {
        if (json_ == "lines") {
            line({{"event", "progress"},
                  {"session", session},
                  {"phase", progress.phase},
                  {"round", progress.round},
                  {"sent_bytes", progress.sent_bytes},
                  {"round_bytes", progress.round_bytes},
                  {"bytes_per_second", progress.bytes_per_second},
                  {"message", progress.message}});
        } else if (json_.empty() && terminal_) {
            // What it says in words stays.
            written_ = progress.message.empty();
            fmt::print("\r{}{}\033[K{}", name_of(session), text(progress), written_ ? "" : "\n");
            std::fflush(stdout);
        } else if (json_.empty()) {
            std::string now = fmt::format("{} {}", progress.phase, progress.round);
            if (now == last_[session] && progress.message.empty()) return;
            last_[session] = std::move(now);
            fmt::print("{}{}\n", name_of(session), text(progress));
            std::fflush(stdout);
        }
    }

    // Leaves the line to what follows.
    void clear() {
        if (written_) fmt::print("\r\033[K");
        written_ = false;
    }
    static void line(const Json& json) {
        fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
        std::fflush(stdout);
    }

  private:
    static std::string text(const migrate::Progress& progress) {
        std::string text = progress.phase;
        if (progress.round > 0) text += fmt::format(", round {}", progress.round);
        if (progress.sent_bytes > 0) {
            text += fmt::format(", {} sent", bytes_text(static_cast<double>(progress.sent_bytes)));
        }
        if (progress.bytes_per_second > 0) {
            text += fmt::format(", {}/s", bytes_text(progress.bytes_per_second));
        }
        if (!progress.message.empty()) text += fmt::format(", {}", progress.message);
        return text;
    }

    // Of a group's member.
    std::string name_of(const std::string& session) const {
        const auto name = names_.find(session);
        return name == names_.end() ? std::string() : name->second;
    }

    std::string json_;
    bool terminal_;
    bool written_ = false;
    std::map<std::string, std::string> last_, names_;  // by session
};

// Ctrl-C asks for an abort and goes on waiting for its end; a second one leaves at once (the agent
// aborts by itself when the call breaks off).
class Interrupts {
  public:
    // To be called before gRPC starts threads, which inherit the mask.
    static void block_signals() {
        const sigset_t set = signals();
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    }
    explicit Interrupts(agent::ControlClient& client) : client_(client) {
        thread_ = std::thread([this] { watch(); });
    }
    Interrupts(const Interrupts&) = delete;
    Interrupts& operator=(const Interrupts&) = delete;
    ~Interrupts() {
        // SIGUSR2 is ours alone: it ends the watching.
        ::pthread_kill(thread_.native_handle(), SIGUSR2);
        thread_.join();
        if (aborting_.joinable()) aborting_.join();
    }
    void session(const std::string& id) {
        const std::lock_guard lock(mutex_);
        session_ = id;
    }

  private:
    static sigset_t signals() {
        sigset_t set;
        sigemptyset(&set);
        for (const int signal : {SIGINT, SIGTERM, SIGUSR2}) sigaddset(&set, signal);
        return set;
    }
    void watch() {
        const sigset_t set = signals();
        for (bool again = false;; again = true) {
            int signal = 0;
            ::sigwait(&set, &signal);
            if (signal == SIGUSR2) return;
            const std::lock_guard lock(mutex_);
            if (again || session_.empty()) {
                client_.cancel();
                continue;
            }
            fmt::print(stderr, "\naborting\n");
            // In a thread of its own: the answer comes when the session has ended.
            aborting_ = std::thread([this, id = session_] { std::ignore = client_.abort(id); });
        }
    }

    agent::ControlClient& client_;
    std::mutex mutex_;
    std::string session_;
    std::thread thread_;
    std::thread aborting_;
};

void print_report(const migrate::Report& report) {
    for (const migrate::Round& round : report.rounds) {
        fmt::print(
            "{} {:2}: {:8} pages, {:>10} in {:>9}{}\n", round.in_freeze ? "freeze" : "round ",
            round.number, round.pages, bytes_text(static_cast<double>(round.bytes)),
            milliseconds_text(round.milliseconds),
            round.dirty_bytes ? fmt::format(", {} written meanwhile",
                                            bytes_text(static_cast<double>(*round.dirty_bytes)))
                              : "");
    }
    if (!report.stop_rule.empty()) {
        fmt::print("pre-copy ended: {}{}\n", report.stop_rule,
                   report.fits_downtime || report.max_downtime_ms <= 0
                       ? ""
                       : fmt::format(" ({} were expected, --max-downtime is {})",
                                     milliseconds_text(report.predicted_downtime_ms),
                                     milliseconds_text(report.max_downtime_ms)));
    }
    if (report.files_compared > 0) {
        fmt::print("files: {} sent, first look {}, in the freeze {}\n",
                   bytes_text(static_cast<double>(report.file_bytes)),
                   milliseconds_text(report.files_ms), milliseconds_text(report.files_frozen_ms));
    }
    const std::string transfer =
        report.transfer_ms > 0 ? fmt::format(" transfer {},", milliseconds_text(report.transfer_ms))
                               : "";
    fmt::print("frozen {} (checkpoint {},{} restore {}), total {}, {} on the wire ({}/s)\n",
               milliseconds_text(report.frozen_ms), milliseconds_text(report.checkpoint_ms),
               transfer, milliseconds_text(report.restore_ms), milliseconds_text(report.total_ms),
               bytes_text(static_cast<double>(report.wire_bytes)),
               bytes_text(report.bytes_per_second()));
}

int exit_code(const agent::SessionInfo& info) {
    if (info.error.empty()) return kExitOk;
    // The decision was taken, its effect is not known.
    if (info.state == migrate::SessionState::Committed) return kExitUnknown;
    // It may have been, by the other host.
    if (info.state == migrate::SessionState::Ready) return kExitUnknown;
    return kExitFailure;
}

const char* outcome_name(int code) {
    if (code == kExitOk) return "done";
    return code == kExitUnknown ? "unknown" : "failed";
}

void print_json_end(const std::string& form, Json end) {
    if (form == "lines") end["event"] = "finished";
    Display::line(end);
}

Json json_end(const agent::SessionInfo& info) {
    Json end = Json::parse(info.report.empty() ? "{}" : info.report, nullptr, false);
    if (!end.is_object()) end = Json::object();
    end["session"] = info.id;
    end["outcome"] = outcome_name(exit_code(info));
    end["state"] = migrate::name_of(info.state);
    end["error"] = info.error;
    return end;
}

int show_end(const agent::SessionInfo& info, const std::string& json) {
    const int code = exit_code(info);
    if (!json.empty()) {
        print_json_end(json, json_end(info));
        return code;
    }
    if (const auto report = migrate::report_from_json(info.report); report && code == kExitOk) {
        print_report(*report);
    }
    if (code == kExitOk) {
        fmt::print("{} runs at {}\n", info.service, info.destination);
    } else if (code == kExitFailure) {
        fmt::print(stderr, "ferry: {}; {} runs on at {}\n", info.error, info.service, info.source);
    } else {
        fmt::print(stderr, "ferry: outcome unknown: {}; ask both agents (ferry history)\n",
                   info.error);
    }
    return code;
}

// What holds for the whole of it. All commit or none, so the worst is what the group is: but a
// destination may die with a member that it was to run.
int exit_code(const std::vector<agent::SessionInfo>& group) {
    int worst = kExitOk;
    for (const agent::SessionInfo& info : group) {
        const int code = exit_code(info);
        if (code == kExitUnknown || worst == kExitOk) worst = code;
    }
    return worst;
}

Json json_end(const std::vector<agent::SessionInfo>& group) {
    Json members = Json::array();
    double frozen_ms = 0, total_ms = 0;
    for (const agent::SessionInfo& info : group) {
        members.push_back(json_end(info));
        if (const auto report = migrate::report_from_json(info.report)) {
            frozen_ms = std::max(frozen_ms, report->frozen_ms);
            total_ms = std::max(total_ms, report->total_ms);
        }
    }
    return {{"group", group.front().group},
            {"outcome", outcome_name(exit_code(group))},
            {"succeeded", exit_code(group) == kExitOk},
            {"frozen_ms", frozen_ms},
            {"total_ms", total_ms},
            {"members", std::move(members)}};
}

int show_end(const std::vector<agent::SessionInfo>& group, const std::string& json) {
    if (group.size() == 1) return show_end(group.front(), json);
    const Json end = json_end(group);
    if (!json.empty()) {
        print_json_end(json, end);
        return exit_code(group);
    }
    for (const agent::SessionInfo& info : group) {
        if (info.error.empty()) fmt::print("{}\n", info.service);
        show_end(info, json);
    }
    if (exit_code(group) == kExitOk) {
        fmt::print("all {} together: frozen {} at most, total {}\n", group.size(),
                   milliseconds_text(end["frozen_ms"].get<double>()),
                   milliseconds_text(end["total_ms"].get<double>()));
    }
    return exit_code(group);
}

// An error before or instead of a session's end.
Result<int> show_error(const Error& error, bool started, const std::string& json) {
    const int code = started                                ? kExitUnknown
                     : error.kind() == Error::Kind::Invalid ? kExitUsage
                                                            : kExitFailure;
    if (!json.empty()) {
        print_json_end(
            json,
            {{"succeeded", false}, {"outcome", outcome_name(code)}, {"error", error.message()}});
    }
    fmt::print(stderr, "ferry: {}{}\n", started ? "outcome unknown: " : "", error.message());
    return code;
}

Result<int> run(Options& options) {
    options.order.max_downtime = std::chrono::milliseconds(options.max_downtime_ms);
    options.order.method = *migrate::method_from(options.method);
    options.order.timeout = std::chrono::seconds(options.timeout_s);
    options.order.on_no_convergence = *migrate::on_no_convergence_from(options.on_no_convergence);
    Interrupts::block_signals();
    auto client = agent::ControlClient::connect(options.socket);
    if (!client) return show_error(client.error(), false, options.json);
    Display display(options.json);
    bool started = false;
    Result<std::vector<agent::SessionInfo>> ended;
    {
        Interrupts interrupts(*client);
        ended = client->migrate_group(
            options.order, {.started =
                                [&](const agent::SessionInfo& info) {
                                    started = true;
                                    interrupts.session(info.id);
                                    display.started(info);
                                },
                            .progress = [&](const auto& session,
                                            const auto& now) { display.progress(session, now); }});
    }
    display.clear();
    if (!ended) return show_error(ended.error(), started, options.json);
    return show_end(*ended, options.json);
}

// All in one, or one after the other until one does not go.
Result<int> run_all(Options& options) {
    const std::vector<std::string>& services = options.services;
    if (options.sequential && !options.order.swap.empty()) {
        return fail(Error::invalid("--swap goes both ways at once, not with --sequential"));
    }
    if (!options.sequential) {
        options.order.service = services.front();
        options.order.others.assign(services.begin() + 1, services.end());
        return run(options);
    }
    for (std::size_t i = 0; i < services.size(); ++i) {
        options.order.service = services[i];
        const int code = TRY(run(options));
        if (code == kExitOk) continue;
        if (i + 1 < services.size()) {
            fmt::print(stderr, "ferry: not tried: {}\n",
                       fmt::join(services.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                 services.end(), ", "));
        }
        return code;
    }
    return kExitOk;
}

void add_method(CLI::App& command, Options& options) {
    command
        .add_option("--method", options.method,
                    "live, or checkpoint: through image files, as ferry dump and ferry restore do; "
                    "the service stands still for all of it")
        ->check(CLI::IsMember({"live", "checkpoint"}))
        ->capture_default_str();
    command.add_option("--images-dir", options.order.images_directory,
                       "In which the image files are written meanwhile, with --method checkpoint "
                       "(default: in memory)");
}

}  // namespace

void add_migrate(CLI::App& app, Invocation& invocation) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("migrate", "Move a service to another host, live");
    command
        ->add_option("SERVICE", options->services,
                     "Pid, the name of a container of runc's, or the exact name of a process. "
                     "Several move together: frozen in one moment, all or none")
        ->required();
    command
        ->add_option("--swap", options->order.swap,
                     "A service of the other host that comes here in the same moment, or all stay. "
                     "May be given several times")
        ->allow_extra_args(false);
    command->add_flag("--sequential", options->sequential,
                      "One after the other instead; the first that fails ends it");
    command->add_option("--to", options->order.destination, "HOST[:PORT] of the other agent")
        ->required();
    command->add_option("--max-downtime", options->max_downtime_ms, "Wanted time frozen, ms")
        ->check(CLI::Range(1, 60000))
        ->capture_default_str();
    command->add_option("--max-rounds", options->order.max_rounds, "Rounds of pre-copy at most")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command
        ->add_option("--on-no-convergence", options->on_no_convergence,
                     "When it cannot be frozen within --max-downtime: freeze it all the same "
                     "(stop-copy), slow it down first (throttle), or leave it where it is (abort)")
        ->check(CLI::IsMember({"stop-copy", "throttle", "abort"}))
        ->capture_default_str();
    command->add_option("--timeout", options->timeout_s, "Seconds for the pre-copy; 0: no limit")
        ->capture_default_str();
    command->add_option("--bridge", options->order.bridge,
                        "Bridge of the destination for a container's network device (default: of "
                        "the same name as at the source)");
    command->add_flag("--shared-storage", options->order.shared_storage,
                      "The destination has a container's files already, the same ones: nothing of "
                      "them is sent or compared (default: found out for each directory)");
    command->add_option("--output", options->order.output,
                        "File of the destination for what a container writes into a pipe to its "
                        "logger, or to its terminal (default: /var/log/ferry/NAME.log)");
    command->add_option("--console-socket", options->order.console_socket,
                        "Unix socket of the destination that takes the master of a container's "
                        "terminal, as runc's option of that name (default: none; Ferry holds it)");
    command->add_flag("--shell-job", options->order.shell_job, "The service may have a terminal");
    command
        ->add_option_function<std::string>(
            "--cpu-cap",
            [options](const std::string& what) { options->order.check_cpu = what != "none"; },
            "What of the CPU must be at the destination: 'ins', every instruction set of this one, "
            "or 'none'")
        ->check(CLI::IsMember({"ins", "none"}))
        ->default_str("ins");
    command
        ->add_option("--ghost-limit", options->order.ghost_bytes_max,
                     "Carry deleted files up to this size, bytes or with K, M, G")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(std::uint64_t{0}, migrate::kGhostBytesMax))
        ->default_str("1M");
    add_method(*command, *options);
    command->add_option("--socket", options->socket, "Unix socket of the agent")
        ->capture_default_str();
    command->add_flag(
        "--json{object}", options->json,
        "Result as one JSON object; --json=lines: progress as well, an object a line");
    command->callback([options, &invocation] {
        if (!options->json.empty() && options->json != "object" && options->json != "lines") {
            throw CLI::ValidationError("--json", "only 'lines' may follow");
        }
        invocation.run = [options] { return run_all(*options); };
    });
}

}  // namespace ferry::cli
