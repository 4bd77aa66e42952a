#include "lab/site_lab.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "lab/hosts_lab.h"
#include "lab/sample_source.h"
#include "lab/site.h"
#include "os/paths.h"

namespace ferry::lab {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kTimeout{20000};
constexpr milliseconds kMigrateTimeout{300000};
constexpr milliseconds kStartTimeout{120000};
constexpr const char* kBridge = "lan";
constexpr int kCpuPeriodUs = 100'000;  // cpu.cfs_period_us: the kernel's default
constexpr int kSitePids = 400;

// A platform's control group is a directory in every hierarchy; a limit is a file in one of them.
Result<> set_limit(const Cgroup& group, const std::string& file, const std::string& value) {
    for (const std::string& directory : group.directories()) {
        const std::string path = directory + "/" + file;
        if (os::fstatat(os::kCwd, path)) return os::write_file(os::kCwd, path, value);
    }
    return fail(Error::unsupported(fmt::format("no control group here has {}", file)));
}

Result<> limit_size(const Cgroup& group, const PlatformSize& size) {
    if (size.cpus > 0) {
        const int quota = static_cast<int>(size.cpus * kCpuPeriodUs);
        TRY(set_limit(group, "cpu.cfs_quota_us", fmt::format("{}", quota)));
    }
    if (size.memory > 0) {
        TRY(set_limit(group, "memory.limit_in_bytes", fmt::format("{}", size.memory)));
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<SiteLab>> SiteLab::create(const SiteLabOptions& options,
                                                 InterruptGuard& guard) {
    if (options.hosts) return HostsLab::create(options, guard);
    std::unique_ptr<SiteLab> lab(new SiteLab(options));
    lab->guard_ = &guard;
    lab->storage_ = TRY(os::mkdtemp("/var/tmp/ferry-lab-"));
    lab->platforms_ = TRY(TwoPlatforms::create());
    const World* world = &lab->platforms_->world();
    guard.watch([world, storage = lab->storage_] {
        world->kill_everything();
        std::error_code ignored;
        std::filesystem::remove_all(storage, ignored);
    });
    for (const int number : {1, 2}) TRY(lab->prepare_platform(number));
    return lab;
}

SiteLab::~SiteLab() {
    end_sites();
    sampler_.reset();
    platforms_.reset();
    std::error_code ignored;
    if (!storage_.empty()) std::filesystem::remove_all(storage_, ignored);
}

void SiteLab::end_sites() {
    if (guard_ != nullptr) guard_->watch(nullptr);
    sites_.clear();
}

const Host& SiteLab::host(int number) const {
    return platforms_->platform(static_cast<std::size_t>(number - 1)).host();
}

Result<CommandResult> SiteLab::run_ferry(int number, const std::vector<std::string>& arguments,
                                         milliseconds timeout) const {
    return platforms_->platform(static_cast<std::size_t>(number - 1)).run_ferry(arguments, timeout);
}

std::string SiteLab::agent_address(int number) const {
    return platforms_->platform(static_cast<std::size_t>(number - 1)).address();
}

ContainerPlan SiteLab::plan_of(std::size_t site) const {
    const std::string name = fmt::format("{}{}", options_.service, site + 1);
    return {.name = name,
            .bundle = options_.bundle,
            .arguments = options_.arguments,
            .directory = sites_directory() + "/" + name,
            .shared_storage = options_.shared_storage,
            .bridge = kBridge,
            .address = fmt::format("10.77.1.{}/24", 101 + site),
            .mac = fmt::format("02:fe:77:00:01:{:02x}", 101 + site),
            .memory_bytes = options_.site_memory,
            .processes = kSitePids};
}

Platform& SiteLab::platform(int number) {
    return platforms_->platform(static_cast<std::size_t>(number - 1));
}

Result<> SiteLab::prepare_platform(int number) {
    const Host& host = platform(number).host();
    TRY(mount_cgroups(host));
    TRY(add_bridge(host, kBridge));
    TRY(limit_size(host.cgroup(), options_.platforms[number - 1]));
    TRY(host.run_checked({"mkdir", "-p", sites_directory()}, kTimeout));
    if (!options_.shared_storage) {
        const std::string own = fmt::format("{}/platform{}", storage_, number);
        TRY(host.run_checked({"mkdir", own}, kTimeout));
        TRY(host.run_checked({"mount", "--bind", own, sites_directory()}, kTimeout));
    }
    return limit_rate(host, options_.link_bits_per_second);
}

Result<> SiteLab::start_sites(std::size_t count, int platform_number) {
    TRY(start_containers(count, platform_number));
    for (const Site& site : sites_) TRY(wait_for_site(client(), site.ip, kStartTimeout));
    return {};
}

Result<> SiteLab::start_containers(std::size_t count, int platform_number) {
    for (std::size_t i = 0; i < count; ++i) {
        const ContainerPlan plan = plan_of(i);
        Site site;
        site.name = plan.name;
        site.ip = plan.address.substr(0, plan.address.find('/'));
        site.platform = platform_number;
        site.container = TRY(Container::start(host(platform_number), plan));
        sites_.push_back(std::move(site));
    }
    return {};
}

Result<> SiteLab::start_clients() {
    for (Site& site : sites_) {
        const auto there = TRY(site_comments(site.container->host(), site.name));
        if (!there.empty()) site.last_comment = there.back().id;
        site.probe = TRY(UdpProbe::start(client(), {.ip = site.ip, .port = kSiteEchoPort}));
        site.http = TRY(HttpLoad::start(
            client(), {.ip = site.ip, .requests_per_second = options_.requests_per_second}));
    }
    return {};
}

Result<std::vector<migrate::Report>> SiteLab::move(const std::vector<std::size_t>& sites, int to,
                                                   Method method,
                                                   const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"migrate"};
    for (const std::size_t index : sites) arguments.push_back(name(index));
    arguments.insert(arguments.end(),
                     {"--to", agent_address(to), "--method", name_of(method), "--json"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result =
        TRY(run_ferry(platform_of(sites.front()), arguments, kMigrateTimeout));
    std::vector<migrate::Report> reports = find_reports(result, sites.size());
    for (std::size_t i = 0; i < sites.size(); ++i) {
        if (!reports[i].succeeded) continue;
        Site& site = sites_.at(sites[i]);
        site.platform = to;
        TRY(site.container->follow_to(host(to)));
    }
    return reports;
}

Result<std::vector<SiteComment>> SiteLab::new_comments(std::size_t index) {
    const Site& site = sites_.at(index);
    return site_comments(site.container->host(), site.name, site.last_comment);
}

Result<int> SiteLab::copies(std::size_t index) {
    int running = 0;
    for (const int number : {1, 2}) {
        const CommandResult state =
            TRY(runc(host(number), {"state", sites_.at(index).name}, kTimeout));
        if (state.status == 0 && state.out.find("\"running\"") != std::string::npos) ++running;
    }
    return running;
}

std::vector<std::string> SiteLab::groups(int number, const Site* site) const {
    std::vector<std::string> directories =
        platforms_->platform(static_cast<std::size_t>(number - 1)).host().cgroup().directories();
    if (site == nullptr) return directories;
    for (std::string& directory : directories) directory += "/" + site->container->cgroup_name();
    return directories;
}

MemoryRecord SiteLab::memory(int number) const {
    MemoryRecord record;
    record.host = memory_of_group(groups(number, nullptr));
    for (const Site& site : sites_) {
        if (site.platform != number) continue;
        const auto own = memory_of_group(groups(number, &site));
        if (own) record.container = record.container.value_or(0) + *own;
    }
    return record;
}

Result<std::uint64_t> SiteLab::service_memory(std::size_t index) const {
    const Site& site = sites_.at(index);
    std::uint64_t bytes = 0;
    for (const Pid pid : processes_of_group(groups(site.platform, &site))()) {
        bytes += proportional_memory(fmt::format("/proc/{}", pid));
    }
    return bytes;
}

Result<> SiteLab::start_sampling(const RunClock& clock) {
    sampler_ = std::make_unique<Sampler>(clock, sample_sources());
    return {};
}

std::vector<Series> SiteLab::stop_sampling() {
    return sampler_ ? sampler_->stop() : std::vector<Series>();
}

std::vector<SampleSource> SiteLab::sample_sources() const {
    std::vector<SampleSource> sources;
    for (const int number : {1, 2}) {
        Platform& where = platforms_->platform(static_cast<std::size_t>(number - 1));
        sources.push_back(
            group_memory(Quantity::HostMemory, number, "host", groups(number, nullptr)));
        sources.push_back(group_cpu(number, "host", groups(number, nullptr)));
        sources.push_back(
            process_cpu(number, "ferryd", process_with_descendants(where.agent().pid())));
        sources.push_back(
            network_device(number, "eth0", fmt::format("/proc/{}/net", where.host().init_pid())));
        for (const Site& site : sites_) {
            const std::vector<std::string> group = groups(number, &site);
            sources.push_back(group_memory(Quantity::ContainerMemory, number, site.name, group));
            sources.push_back(group_cpu(number, site.name, group));
            sources.push_back(object_counts(number, site.name, processes_of_group(group), 10));
        }
    }
    sources.push_back(tcp_retransmissions(
        0, "client", fmt::format("/proc/{}/net", platforms_->client().init_pid())));
    return sources;
}

}  // namespace ferry::lab
