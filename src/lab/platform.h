// A platform: a host with Ferry's agent on it.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/world.h"

namespace ferry::lab {

// The directory of the running program: `ferry` and `ferryd` lie side by side.
Result<std::string> program_directory();

// Makes a certificate authority in the world's shared directory and issues a certificate for each
// host; agents find them there.
Result<> make_keys(const Host& any,
                   const std::vector<std::pair<std::string, std::string>>& names_and_addresses);

// Limits what leaves the host by eth0; 0: no limit.
Result<> limit_rate(const Host& host, double bits_per_second);

class Platform {
  public:
    // `address` is the host's own, where peers reach its agent. The agent answers when this
    // returns.
    static Result<Platform> start(Host& host, std::string address);

    [[nodiscard]] Host& host() const { return *host_; }
    [[nodiscard]] const std::string& address() const { return address_; }
    [[nodiscard]] const std::string& name() const { return host_->name(); }

    // `ferry ARGUMENTS...` on this platform.
    [[nodiscard]] std::vector<std::string> ferry(const std::vector<std::string>& arguments) const;
    Result<CommandResult> run_ferry(const std::vector<std::string>& arguments,
                                    std::chrono::milliseconds timeout) const;

    [[nodiscard]] os::ChildProcess& agent() { return agent_; }
    // After the agent has ended or was killed: a new one in its place.
    Result<> restart_agent();
    [[nodiscard]] std::string agent_log() const;

  private:
    Platform(Host& host, std::string address) : host_(&host), address_(std::move(address)) {}
    Result<> start_agent();

    Host* host_;
    std::string address_;
    os::ChildProcess agent_;
};

}  // namespace ferry::lab
