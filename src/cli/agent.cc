// ferry agent: ferryd in the foreground, under the name that people look for.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/sibling.h"

namespace ferry::cli {

void add_agent(CLI::App& app, Invocation& invocation) {
    CLI::App* const command =
        app.add_subcommand("agent", "Run the agent here, in the foreground (options of ferryd)");
    command->prefix_command();
    // The options are ferryd's own business, --help included.
    command->set_help_flag();
    command->callback([command, &invocation] {
        std::vector<std::string> words = {"ferryd"};
        const std::vector<std::string> options = command->remaining();
        words.insert(words.end(), options.begin(), options.end());
        invocation.run = [words]() -> Result<int> { return fail(become_sibling("ferryd", words)); };
    });
}

}  // namespace ferry::cli
