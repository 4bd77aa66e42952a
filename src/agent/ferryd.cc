// The program ferryd. Besides the agent it is also the agent's workers, the question that a worker
// puts to the peer's agent, and what Podman finds in the place of its runtime: one file on disk,
// one version.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "agent/client.h"
#include "agent/daemon.h"
#include "agent/worker.h"
#include "agent/worker_message.h"
#include "container/podman_stand_in.h"

int main(int argc, char** argv) {
    using ferry::container::StandInFor;
    const auto stand_in = ferry::container::run_stand_in({argv, static_cast<std::size_t>(argc)},
                                                         StandInFor::PodmansProgramsAndCriu);
    if (stand_in) return *stand_in;
    const std::string_view verb = argc > 1 ? argv[1] : "";
    if (verb == ferry::agent::kWorkerVerb) return ferry::agent::run_worker();
    ferry::agent::allow_only_tls13_in_grpc();
    const std::vector<std::string> rest(argv + std::min(argc, 2), argv + argc);
    if (verb == ferry::agent::kOutcomeVerb) return ferry::agent::run_outcome_query(rest);
    if (verb == ferry::agent::kDecisionVerb) return ferry::agent::run_decision_query(rest, false);
    if (verb == ferry::agent::kGiveUpVerb) return ferry::agent::run_decision_query(rest, true);
    return ferry::agent::run_daemon(argc, argv);
}
