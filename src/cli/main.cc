// The program `ferry`. The engine's own verbs run in it; for all others it becomes `ferry-agents`,
// which lies beside it. A checkpoint or a restore takes some hundred milliseconds, in which the
// service stands still: to load gRPC and the lab's libraries would take ten of them. Podman finds
// this program in the place of its runtime where it dumps or restores one of Podman's containers.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/run.h"
#include "container/podman_stand_in.h"
#include "os/fd.h"
#include "os/spawn.h"

namespace ferry::cli {
namespace {

struct EngineVerb {
    std::string_view name;
    AddVerb add;
};
constexpr EngineVerb kEngineVerbs[] = {
    {"dump", add_dump}, {"restore", add_restore}, {"check", add_check}, {"swrk", add_swrk}};

// Returns only if it could not.
int become_agents_program(const std::vector<std::string>& arguments) {
    const Result<std::string> self = os::readlinkat(os::kCwd, "/proc/self/exe");
    if (!self) {
        fmt::print(stderr, "ferry: {}\n", self.error().message());
        return kExitFailure;
    }
    std::vector<std::string> all = {self->substr(0, self->rfind('/') + 1) + "ferry-agents"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const Error error = os::execute(all);
    fmt::print(stderr, "ferry: {} (it belongs beside ferry)\n", error.message());
    return kExitFailure;
}

int run_engine(const std::vector<std::string>& arguments) {
    for (const EngineVerb& verb : kEngineVerbs) {
        if (!arguments.empty() && arguments.front() == verb.name)
            return run({&verb.add, 1}, arguments);
    }
    return become_agents_program(arguments);
}

}  // namespace
}  // namespace ferry::cli

int main(int argc, char** argv) {
    using ferry::container::StandInFor;
    const auto stand_in = ferry::container::run_stand_in({argv, static_cast<std::size_t>(argc)},
                                                         StandInFor::PodmansPrograms);
    if (stand_in) return *stand_in;
    return ferry::cli::run_engine(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
