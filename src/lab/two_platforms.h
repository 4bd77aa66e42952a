// The setting of the demo, of the bench and of the end-to-end tests: two platforms, a Redis that
// can cross between them, and its clients on a third host.
//
//   platform1 10.77.0.11    platform2 10.77.0.12     client 10.77.1.2
//        svc0 10.77.1.100 --(moves)-->                   |
//            \________________________ br0 ______________/
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "lab/crossing.h"
#include "lab/load.h"
#include "lab/platform.h"
#include "lab/redis_service.h"
#include "lab/world.h"

namespace ferry::lab {

class TwoPlatforms {
  public:
    // Hosts, keys, agents. From the main thread. more_uptime: platform 2's (HostPlan).
    static Result<std::unique_ptr<TwoPlatforms>> create(std::chrono::seconds more_uptime = {});

    [[nodiscard]] World& world() { return *world_; }
    [[nodiscard]] Platform& platform(std::size_t index) { return platforms_.at(index); }
    [[nodiscard]] Host& client() const { return world_->host(2); }

    // Redis on platform 0 with `mib` mebibytes of values, and its load.
    Result<> start_service(std::uint64_t mib, const std::vector<std::string>& redis_arguments = {},
                           const std::function<void(double)>& progress = {});
    Result<> start_load(LoadOptions options);
    [[nodiscard]] Pid service() const { return service_; }
    [[nodiscard]] RedisAddress service_address() const { return redis_.address; }
    [[nodiscard]] std::uint64_t keys() const { return keys_; }
    [[nodiscard]] Load& load() { return *load_; }
    [[nodiscard]] bool has_load() const { return load_ != nullptr; }

    // `ferry migrate` from one to the other, with everything measured. A migration that fails is a
    // success of this function: see Crossing::report.
    using OnProgress =
        std::function<void(const std::string& phase, int round, std::uint64_t sent_bytes)>;
    Result<Crossing> migrate(std::size_t from, std::size_t to,
                             const std::vector<std::string>& arguments = {},
                             const OnProgress& on_progress = {});
    // redis-server processes on both platforms together.
    Result<std::size_t> copies();

  private:
    TwoPlatforms() = default;
    Result<PlatformFigures> figures(std::size_t index);

    std::unique_ptr<World> world_;
    std::vector<Platform> platforms_;  // after the world: their agents end first
    RedisOptions redis_;
    Pid service_;
    std::uint64_t keys_ = 0;
    std::unique_ptr<Load> load_;
};

}  // namespace ferry::lab
