#include "agent/daemon.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/client.h"
#include "agent/server.h"
#include "agent/worker.h"
#include "base/log.h"
#include "net/pki.h"

namespace ferry::agent {
namespace {

std::string host_name() {
    std::array<char, 256> name = {};
    if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
    return name.data();
}

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

// Until somebody wants us to end; does the housekeeping meanwhile.
void wait_for_end(Agent& agent) {
    const sigset_t set = ending_signals();
    for (;;) {
        constexpr timespec kTick = {.tv_sec = 1, .tv_nsec = 0};
        if (::sigtimedwait(&set, nullptr, &kTick) > 0) return;
        agent.tick();
        agent.ask_outcomes();
    }
}

// Ends all sessions, some of them forward. False if a second signal does not want to wait for that.
bool wait_for_sessions(Agent& agent) {
    agent.begin_shut_down();
    const sigset_t set = ending_signals();
    while (!agent.idle()) {
        constexpr timespec kTick = {.tv_sec = 0, .tv_nsec = 20'000'000};
        if (::sigtimedwait(&set, nullptr, &kTick) > 0) return false;
    }
    return true;
}

Result<> serve(const AgentConfig& config) {
    // Before there are threads, which inherit the mask.
    const sigset_t set = ending_signals();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    const auto agent = TRY(Agent::create(config));
    const auto server = TRY(Server::start(*agent, config));
    log_info("ferryd {} of {} on {}", kVersion, config.name, config.socket);
    wait_for_end(*agent);
    log_info("ending");
    if (!wait_for_sessions(*agent)) {
        // Workers notice that their agent is gone; the next agent takes over their journal.
        log_warn("leaving sessions to themselves");
        server->forget_socket();
        std::_Exit(0);
    }
    server->stop();
    return {};
}

}  // namespace

int run_daemon(int argc, const char* const* argv) {
    CLI::App app(
        "The agent of Ferry: runs migrations on this host and answers the agents of other hosts.",
        "ferryd");
    AgentConfig config;
    config.name = host_name();
    config.pki_directory = net::kPkiDirectory;
    std::string listen;
    app.add_option("--socket", config.socket, "Unix socket for control, root only")
        ->capture_default_str();
    app.add_option("--listen", listen,
                   "ADDRESS:PORT for the agents of other hosts, always with mutual TLS 1.3 "
                   "(default: not at all, and then no migrations)");
    app.add_option("--state-dir", config.state_directory, "History and journal")
        ->capture_default_str();
    app.add_option("--pki-dir", config.pki_directory, "ca.crt, NAME.crt and NAME.key")
        ->capture_default_str();
    app.add_option("--name", config.name, "Name of this host in its certificate")
        ->capture_default_str();
    app.add_option("--advertise", config.advertise,
                   "Address for connections from peers (default: where they called)");
    app.add_option(
        "--uplink", config.uplink,
        "Device on which the address of an arriving service is put (default: as at the source)");
    app.add_option("--runtime-root", config.runtime_root,
                   "Where runc keeps the states of containers (runc --root)")
        ->capture_default_str();
    app.add_option("-v,--verbosity", config.log_level, "1 errors, 2 warnings, 3 news, 4 everything")
        ->check(CLI::Range(1, 4))
        ->capture_default_str();
    app.set_version_flag("--version", std::string("ferryd ") + kVersion);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        const int code = app.exit(error);
        return code == 0 ? 0 : 2;
    }
    set_log(nullptr, static_cast<LogLevel>(config.log_level));
    const auto served = [&]() -> Result<> {
        if (!listen.empty()) config.listen = TRY(net::Endpoint::parse(listen, net::kControlPort));
        return serve(config);
    }();
    if (served) return 0;
    fmt::print(stderr, "ferryd: {}\n", served.error().message());
    return 1;
}

}  // namespace ferry::agent
