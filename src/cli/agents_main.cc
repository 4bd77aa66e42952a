// The program `ferry-agents`: all verbs. `ferry` becomes it for those that speak with agents, and
// for help (main.cc says why).
#include <algorithm>
#include <string>
#include <vector>

#include "cli/run.h"

namespace ferry::cli {
namespace {

// One line for each verb, in the order of help.
constexpr AddVerb kVerbs[] = {
    add_dump,    add_restore, add_check, add_lab, add_migrate, add_status,
    add_history, add_abort,   add_agent, add_pki, add_swrk,
};

}  // namespace
}  // namespace ferry::cli

int main(int argc, char** argv) {
    return ferry::cli::run(ferry::cli::kVerbs,
                           std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
