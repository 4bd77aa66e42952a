// The program `ferry`. The engine's own verbs run in it; for all others it becomes `ferry-agents`,
// which lies beside it. A checkpoint or a restore takes some hundred milliseconds, in which the
// service stands still: to load gRPC and the lab's libraries would take ten of them. Podman finds
// this program in the place of its runtime where it dumps or restores one of Podman's containers.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/run.h"
#include "cli/sibling.h"
#include "container/podman_stand_in.h"

namespace ferry::cli {
namespace {

struct EngineVerb {
    std::string_view name;
    AddVerb add;
};
constexpr EngineVerb kEngineVerbs[] = {
    {"dump", add_dump}, {"restore", add_restore}, {"check", add_check}, {"swrk", add_swrk}};

int run_words(const std::vector<std::string>& words) {
    const std::vector<std::string> arguments(words.begin() + !words.empty(), words.end());
    for (const EngineVerb& verb : kEngineVerbs) {
        if (arguments.empty() || arguments.front() != verb.name) continue;
        return run({&verb.add, 1}, arguments);
    }
    const Error error = become_sibling("ferry-agents", words);
    fmt::print(stderr, "ferry: {} (it belongs beside ferry)\n", error.message());
    return kExitFailure;
}

}  // namespace
}  // namespace ferry::cli

int main(int argc, char** argv) {
    using ferry::container::StandInFor;
    const auto stand_in = ferry::container::run_stand_in({argv, static_cast<std::size_t>(argc)},
                                                         StandInFor::PodmansPrograms);
    if (stand_in) return *stand_in;
    return ferry::cli::run_words({argv, argv + argc});
}
