// ferry agent: ferryd in the foreground, under the name that people look for.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "os/fd.h"
#include "os/spawn.h"

namespace ferry::cli {

void add_agent(CLI::App& app, Invocation& invocation) {
    CLI::App* const command =
        app.add_subcommand("agent", "Run the agent here, in the foreground (options of ferryd)");
    command->prefix_command();
    // The options are ferryd's own business, --help included.
    command->set_help_flag();
    command->callback([command, &invocation] {
        const std::vector<std::string> arguments = command->remaining();
        invocation.run = [arguments]() -> Result<int> {
            // Beside this program, so that both are of one version.
            const std::string self = TRY(os::readlinkat(os::kCwd, "/proc/self/exe"));
            const std::string path = self.substr(0, self.rfind('/') + 1) + "ferryd";
            std::vector<std::string> all = {path};
            all.insert(all.end(), arguments.begin(), arguments.end());
            return fail(os::execute(all));
        };
    });
}

}  // namespace ferry::cli
