// The program ferryd. Besides the agent it is also the agent's workers and the question that a
// worker puts to the peer's agent: one file on disk, one version.
#include <string>
#include <string_view>
#include <vector>

#include "agent/client.h"
#include "agent/daemon.h"
#include "agent/worker.h"
#include "agent/worker_message.h"

int main(int argc, char** argv) {
    const std::string_view verb = argc > 1 ? argv[1] : "";
    if (verb == ferry::agent::kWorkerVerb) return ferry::agent::run_worker();
    ferry::agent::allow_only_tls13_in_grpc();
    if (verb == ferry::agent::kOutcomeVerb) {
        return ferry::agent::run_outcome_query(std::vector<std::string>(argv + 2, argv + argc));
    }
    return ferry::agent::run_daemon(argc, argv);
}
