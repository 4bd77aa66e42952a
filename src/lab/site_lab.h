// The setting of the paper's scenarios: two platforms of different size, sites in containers that
// can cross between them, and their clients on a third host.
//
//   platform1 10.77.0.11    platform2 10.77.0.12     client 10.77.1.2
//     lan | site1 10.77.1.101 --(moves)--> lan |        |
//         \_____________________ br0 ___________________/
//
// Or two real machines, see hosts_lab.h. Both platforms have the site's image; what a site writes
// lies in each platform's own storage and crosses with it, or where both see it, as the paper's did
// (NFS there).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/container.h"
#include "lab/http_load.h"
#include "lab/interrupt.h"
#include "lab/run_record.h"
#include "lab/sampler.h"
#include "lab/two_platforms.h"
#include "lab/udp_probe.h"
#include "migrate/report.h"

namespace ferry::lab {

struct PlatformSize {
    double cpus = 0;           // 0: no limit
    std::uint64_t memory = 0;  // bytes; 0: no limit
};

// Two machines that are there already, each with ferry, a running ferryd and runc.
struct HostsOptions {
    std::string destinations[2];  // of ssh(1): [USER@]HOST[:PORT]
    std::string ssh_config;       // "": ssh's own
    std::string ferry = "ferry";  // the program there
    std::string runtime_root = "/run/runc";
    std::string bridge = "lan";                    // there, gets the sites
    std::string first_address = "10.77.1.101/24";  // of the first site, in the bridge's network
    std::string storage = "/var/lib/ferry-lab";    // directory there, gets the sites' files
};

struct SiteLabOptions {
    std::optional<HostsOptions> hosts;        // instead of platforms made here
    std::string service = "site";             // the containers are called this and a number
    std::string bundle;                       // of the service
    std::vector<std::string> arguments = {};  // of its first process; {}: the bundle's
    PlatformSize platforms[2];                // 1 and 2
    // Each way, of each platform; 0: no limit. Of real machines it is a word only: 0 is not known.
    double link_bits_per_second = 1e9;
    double requests_per_second = 10;         // to each site
    std::uint64_t site_memory = 2ull << 30;  // limit of a site's control group
    bool shared_storage = false;             // of the platforms
};

// One thread. Platforms are numbered 1 and 2, sites from 0.
class SiteLab {
  public:
    // From the main thread. The guard takes down what there is when a signal comes.
    static Result<std::unique_ptr<SiteLab>> create(const SiteLabOptions& options,
                                                   InterruptGuard& guard);
    SiteLab(const SiteLab&) = delete;
    SiteLab& operator=(const SiteLab&) = delete;
    virtual ~SiteLab();

    // They answer when this returns.
    Result<> start_sites(std::size_t count, int platform);
    // The same without waiting for an answer: of a service that is no site.
    Result<> start_containers(std::size_t count, int platform);
    Result<> start_clients();

    [[nodiscard]] std::size_t sites() const { return sites_.size(); }
    [[nodiscard]] std::string name(std::size_t site) const { return sites_.at(site).name; }
    [[nodiscard]] std::string address(std::size_t site) const { return sites_.at(site).ip; }
    [[nodiscard]] Container& container(std::size_t site) { return *sites_.at(site).container; }
    [[nodiscard]] int platform_of(std::size_t site) const { return sites_.at(site).platform; }
    [[nodiscard]] HttpLoad& http(std::size_t site) { return *sites_.at(site).http; }
    [[nodiscard]] UdpProbe& probe(std::size_t site) { return *sites_.at(site).probe; }
    // Not with real machines.
    [[nodiscard]] Platform& platform(int number);
    [[nodiscard]] virtual const Host& host(int number) const;
    [[nodiscard]] virtual const Host& client() const { return platforms_->client(); }

    // `ferry migrate` with more arguments, of several as a group. They are on one platform. A
    // migration that fails is a success of this function: see Report.
    Result<std::vector<migrate::Report>> move(const std::vector<std::size_t>& sites, int to,
                                              Method method,
                                              const std::vector<std::string>& more = {});
    // The comments that a site's database got since the clients were started.
    Result<std::vector<SiteComment>> new_comments(std::size_t site);
    // On how many platforms the runtime says that a site runs; 1 is right.
    Result<int> copies(std::size_t site);

    [[nodiscard]] virtual MemoryRecord memory(int platform) const;
    // Of the site's processes where it is now; what they share counts once.
    [[nodiscard]] virtual Result<std::uint64_t> service_memory(std::size_t site) const;
    // All sites must have been started.
    virtual Result<> start_sampling(const RunClock& clock);
    virtual std::vector<Series> stop_sampling();

  protected:
    struct Site {
        std::string name, ip;
        int platform = 0;
        std::unique_ptr<Container> container;
        std::uint64_t last_comment = 0;  // before the clients were started
        std::unique_ptr<HttpLoad> http;
        std::unique_ptr<UdpProbe> probe;
    };
    explicit SiteLab(SiteLabOptions options) : options_(std::move(options)) {}
    // `ferry ARGUMENTS...` on a platform.
    virtual Result<CommandResult> run_ferry(int platform, const std::vector<std::string>& arguments,
                                            std::chrono::milliseconds timeout) const;
    // Where its peer reaches a platform's agent.
    [[nodiscard]] virtual std::string agent_address(int platform) const;
    [[nodiscard]] virtual ContainerPlan plan_of(std::size_t site) const;
    void end_sites();

    const SiteLabOptions options_;
    InterruptGuard* guard_ = nullptr;
    std::vector<Site> sites_;  // before the platforms go: containers end first

  private:
    Result<> prepare_platform(int number);
    [[nodiscard]] std::vector<SampleSource> sample_sources() const;
    [[nodiscard]] std::string sites_directory() const { return storage_ + "/sites"; }
    [[nodiscard]] std::vector<std::string> groups(int platform, const Site* site) const;

    std::string storage_;  // the sites' files
    std::unique_ptr<TwoPlatforms> platforms_;
    std::unique_ptr<Sampler> sampler_;
};

}  // namespace ferry::lab
