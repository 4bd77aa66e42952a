#include "container/limits.h"

#include <fmt/format.h>

#include <array>

#include "container/json_access.h"

namespace ferry::container {
namespace {

// The names in libcontainer's state and in the specification.
struct Limit {
    const char* state;
    const char* part;
    const char* name;
};
constexpr std::array kNumbers = {
    Limit{"memory", "memory", "limit"},
    Limit{"memory_reservation", "memory", "reservation"},
    Limit{"memory_swap", "memory", "swap"},
    Limit{"cpu_shares", "cpu", "shares"},
    Limit{"cpu_quota", "cpu", "quota"},
    Limit{"cpu_period", "cpu", "period"},
    Limit{"cpu_rt_quota", "cpu", "realtimeRuntime"},
    Limit{"cpu_rt_period", "cpu", "realtimePeriod"},
    Limit{"blkio_weight", "blockIO", "weight"},
    Limit{"pids_limit", "pids", "limit"},
};
constexpr std::array kTexts = {
    Limit{"cpuset_cpus", "cpu", "cpus"},
    Limit{"cpuset_mems", "cpu", "mems"},
};

// All of them, since runc takes what is missing for unlimited.
Result<Json> limits_of(const Json& cgroups) {
    Json resources = Json::object();
    for (const Limit& limit : kNumbers) {
        resources[limit.part][limit.name] = TRY(signed_in(cgroups, limit.state));
    }
    for (const Limit& limit : kTexts) {
        resources[limit.part][limit.name] = TRY(text_in(cgroups, limit.state));
    }
    return resources;
}

Result<Json> limits_in(std::string_view state) {
    const Json json = TRY(parse_object(state, "state.json"));
    const Json& config = *TRY(object_in(json, "config"));
    return with_context(limits_of(*TRY(object_in(config, "cgroups"))), "state.json");
}

}  // namespace

Result<std::optional<std::string>> changed_limits(std::string_view created,
                                                  std::string_view original) {
    const Json wanted = TRY(limits_in(original));
    if (TRY(limits_in(created)) == wanted) return std::nullopt;
    return to_text(wanted);
}

}  // namespace ferry::container
