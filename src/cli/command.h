// What a verb of the program `ferry` is. One file per verb; main.cc lists them. Verbs print the
// only text that users see; everything below returns errors.
#pragma once

#include <functional>
#include <string>

#include "base/error.h"

namespace CLI {
class App;
}

namespace ferry::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;
// Of a migration: whether the service runs here or there is not known here.
inline constexpr int kExitUnknown = 3;

// What CLI11 callbacks leave for main: the one verb that was chosen.
struct Invocation {
    // Runs the verb and gives its exit code. An Error is printed as one line by main, exit code 1
    // (2 where its kind is Invalid).
    std::function<Result<int>()> run;
};

// A verb adds its subcommand with its options to app and, in the subcommand's callback, sets
// invocation.run. To add a verb: declare its function here and name it in kVerbs (main.cc).
using AddVerb = void (*)(CLI::App& app, Invocation& invocation);

void add_dump(CLI::App& app, Invocation& invocation);
void add_restore(CLI::App& app, Invocation& invocation);
void add_check(CLI::App& app, Invocation& invocation);
void add_lab(CLI::App& app, Invocation& invocation);
void add_migrate(CLI::App& app, Invocation& invocation);
void add_status(CLI::App& app, Invocation& invocation);
void add_history(CLI::App& app, Invocation& invocation);
void add_abort(CLI::App& app, Invocation& invocation);
void add_agent(CLI::App& app, Invocation& invocation);
void add_swrk(CLI::App& app, Invocation& invocation);
void add_pki(CLI::App& app, Invocation& invocation);

}  // namespace ferry::cli
