#include "lab/two_platforms.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "lab/system_snapshot.h"
#include "lab/values.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kMigrateTimeout{300000};
// Late effects of a crossing (a lost announcement costs its clients 200 ms and more) are still
// counted.
constexpr milliseconds kAftermath{500};

std::vector<HostPlan> plans() {
    return {{"platform1", {"10.77.0.11/24"}, 1000},
            {"platform2", {"10.77.0.12/24"}, 20000},
            {"client", {"10.77.1.2/24"}, 300}};
}

}  // namespace

Result<std::unique_ptr<TwoPlatforms>> TwoPlatforms::create(std::chrono::seconds more_uptime) {
    std::unique_ptr<TwoPlatforms> lab(new TwoPlatforms);
    std::vector<HostPlan> hosts = plans();
    hosts[1].more_uptime = more_uptime;
    lab->world_ = TRY(World::create(hosts));
    std::vector<std::pair<std::string, std::string>> names;
    for (std::size_t i = 0; i < 2; ++i) {
        const std::string address = hosts[i].addresses[0];
        names.emplace_back(hosts[i].name, address.substr(0, address.find('/')));
    }
    TRY(with_context(make_keys(lab->world_->host(0), names), "keys"));
    for (std::size_t i = 0; i < 2; ++i) {
        lab->platforms_.push_back(TRY(Platform::start(lab->world_->host(i), names[i].second)));
    }
    return lab;
}

Result<> TwoPlatforms::start_service(std::uint64_t mib,
                                     const std::vector<std::string>& redis_arguments,
                                     const std::function<void(double)>& progress) {
    TRY(add_service_interface(world_->host(0), {}));
    redis_.directory = std::string(kSharedDirectory) + "/redis";
    redis_.extra = redis_arguments;
    service_ = TRY(start_redis(world_->host(0), redis_));
    keys_ = mib * 1024 * 1024 / kValueBytes;
    return with_context(Load::fill(client(), redis_.address, keys_, progress), "filling redis");
}

Result<> TwoPlatforms::start_load(LoadOptions options) {
    options.address = redis_.address;
    options.keys = keys_;
    load_ = TRY(with_context(Load::start(client(), options), "load"));
    return {};
}

Result<PlatformFigures> TwoPlatforms::figures(std::size_t index) {
    const Host& host = world_->host(index);
    const auto charged = host.cgroup().memory_bytes();
    return PlatformFigures{charged ? *charged : TRY(memory_in_use(host)), TRY(open_files(host))};
}

Result<Crossing> TwoPlatforms::migrate(std::size_t from, std::size_t to,
                                       const std::vector<std::string>& arguments,
                                       const OnProgress& on_progress) {
    const auto on_line = [&](const std::string& line) {
        const auto json = nlohmann::json::parse(line, nullptr, false);
        if (!on_progress || !json.is_object() || json.value("event", "") != "progress") return;
        on_progress(json.value("phase", ""), json.value("round", 0),
                    json.value("sent_bytes", std::uint64_t{0}));
    };
    Crossing crossing;
    crossing.from = platforms_[from].name();
    crossing.to = platforms_[to].name();
    crossing.from_before = TRY(figures(from));
    crossing.to_before = TRY(figures(to));
    std::vector<std::string> command = {"migrate", fmt::format("{}", service_.value), "--to",
                                        platforms_[to].address(), "--json=lines"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    if (load_) static_cast<void>(load_->take_window());
    const CommandResult result =
        TRY(run(platforms_[from].host().launch(platforms_[from].ferry(command)), kMigrateTimeout,
                {}, on_line));
    crossing.report = find_report(result);
    std::this_thread::sleep_for(kAftermath);
    if (load_) crossing.clients = load_->take_window();
    crossing.from_after = TRY(figures(from));
    crossing.to_after = TRY(figures(to));
    crossing.copies = TRY(copies());
    return crossing;
}

Result<std::size_t> TwoPlatforms::copies() {
    std::size_t count = 0;
    for (std::size_t i = 0; i < 2; ++i) {
        count += TRY(processes_named(world_->host(i), "redis-server")).size();
    }
    return count;
}

}  // namespace ferry::lab
