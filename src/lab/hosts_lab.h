// The paper's setting on two real machines, reached by ssh(1) with keys (BatchMode). Each has ferry
// of this version, a running ferryd with the other's certificate authority, runc, and a bridge in
// the clients' network; the load runs on this machine. Containers are started there by runc, the
// samplers run there, the site is copied there once.
//
//   platform 1 (ssh) -- bridge | sites --(move)--> bridge -- platform 2 (ssh)
//                          \______ network ______/______ this machine: clients
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lab/remote_sampler.h"
#include "lab/site_lab.h"

namespace ferry::lab {

class HostsLab : public SiteLab {
  public:
    // `options.hosts` is there. An error names the machine and, in one line, what it lacks.
    static Result<std::unique_ptr<SiteLab>> create(const SiteLabOptions& options,
                                                   InterruptGuard& guard);
    // Ends the sites there and removes their files.
    ~HostsLab() override;

    [[nodiscard]] const Host& host(int number) const override { return machine(number).host; }
    [[nodiscard]] const Host& client() const override { return client_; }
    [[nodiscard]] MemoryRecord memory(int platform) const override;
    [[nodiscard]] Result<std::uint64_t> service_memory(std::size_t site) const override;
    Result<> start_sampling(const RunClock& clock) override;
    std::vector<Series> stop_sampling() override;

  protected:
    Result<CommandResult> run_ferry(int platform, const std::vector<std::string>& arguments,
                                    std::chrono::milliseconds timeout) const override;
    [[nodiscard]] std::string agent_address(int platform) const override;
    [[nodiscard]] ContainerPlan plan_of(std::size_t site) const override;

  private:
    struct Machine {
        Host host;
        std::string address;
        std::unique_ptr<RemoteSampler> sampler = {};
    };
    explicit HostsLab(SiteLabOptions options) : SiteLab(std::move(options)) {}
    [[nodiscard]] const HostsOptions& hosts() const { return *options_.hosts; }
    [[nodiscard]] const Machine& machine(int number) const {
        return *machines_.at(static_cast<std::size_t>(number - 1));
    }
    Result<> connect();
    [[nodiscard]] std::vector<std::string> ssh_to(const std::string& destination) const;
    Result<> check(const Machine& machine) const;
    Result<> bring_bundle(const Machine& machine) const;
    [[nodiscard]] std::string directory() const;
    [[nodiscard]] std::string name_of_site(std::size_t site) const;
    // Where a site is on a machine until all of it has come.
    [[nodiscard]] std::string arriving_bundle() const;
    void clear_up() const;
    void close_connections() const;

    std::string control_directory_;  // of ssh's shared connections
    std::vector<std::unique_ptr<Machine>> machines_;
    Host client_ = Host::here();
    std::unique_ptr<Sampler> client_sampler_;
};

}  // namespace ferry::lab
