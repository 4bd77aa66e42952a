#include "lab/redis_service.h"

#include <fmt/format.h>
#include <sched.h>

#include <charconv>
#include <sstream>
#include <thread>

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kTimeout{60000};

}  // namespace

Result<> add_service_interface(const Host& host, const ServiceInterface& interface) {
    // A daemon that restarts at once would otherwise wait for duplicate address detection.
    const std::string batch = fmt::format(
        "link add {0} link eth0 address {1} type macvlan mode bridge\n"
        "link set {0} up\n"
        "addr add {2} dev {0}\n",
        interface.name, interface.mac, interface.address);
    os::Launch launch = host.launch({"ip", "-batch", "-"});
    TRY(with_context(run_checked(std::move(launch), kTimeout, batch), interface.name));
    return {};
}

Result<Pid> start_redis(const Host& host, const RedisOptions& options) {
    TRY(host.run_checked({"mkdir", "-p", options.directory}, kTimeout));
    const std::string pidfile = options.directory + "/redis.pid";
    std::vector<std::string> arguments = {"redis-server",
                                          "--daemonize",
                                          "yes",
                                          "--bind",
                                          options.address.ip,
                                          "--port",
                                          fmt::format("{}", options.address.port),
                                          "--dir",
                                          options.directory,
                                          "--pidfile",
                                          pidfile,
                                          "--logfile",
                                          options.directory + "/redis.log",
                                          "--save",
                                          "",
                                          "--appendonly",
                                          "no",
                                          "--protected-mode",
                                          "no",
                                          "--enable-debug-command",
                                          "yes"};
    arguments.insert(arguments.end(), options.extra.begin(), options.extra.end());
    TRY(host.run_checked(std::move(arguments), kTimeout));
    const std::vector<std::string> ping = {
        "redis-cli", "-h", options.address.ip, "-p", fmt::format("{}", options.address.port),
        "ping"};
    const auto end = std::chrono::steady_clock::now() + kTimeout;
    for (;;) {
        const CommandResult answer = TRY(host.run(ping, kTimeout));
        if (answer.out.starts_with("PONG")) break;
        if (std::chrono::steady_clock::now() > end) {
            return fail(Error::peer("redis does not answer: " + answer.out + answer.err));
        }
        std::this_thread::sleep_for(milliseconds(20));
    }
    const std::string text = TRY(host.run_checked({"cat", pidfile}, kTimeout));
    Pid pid;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), pid.value);
    if (parsed.ec != std::errc()) return fail(Error::peer("redis wrote no pid"));
    return pid;
}

Result<std::vector<Pid>> processes_named(const Host& host, const std::string& name) {
    std::vector<Pid> found;
    const std::string proc = host.path("/proc");
    for (const std::string& entry : TRY(os::list_directory(os::kCwd, proc))) {
        Pid pid;
        const auto parsed = std::from_chars(entry.data(), entry.data() + entry.size(), pid.value);
        if (parsed.ec != std::errc() || parsed.ptr != entry.data() + entry.size()) continue;
        // pid (comm) state: a process that vanishes meanwhile is none.
        const Result<std::string> stat = os::read_file(proc + "/" + entry + "/stat");
        if (!stat) continue;
        const std::size_t open = stat->find('('), close = stat->rfind(')');
        if (open == std::string::npos || close == std::string::npos) continue;
        const bool alive = stat->compare(close, 3, ") Z") != 0;
        if (alive && stat->substr(open + 1, close - open - 1) == name) found.push_back(pid);
    }
    return found;
}

}  // namespace ferry::lab
