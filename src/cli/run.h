// A command line of Ferry's, run.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/command.h"

namespace ferry::cli {

// Of these verbs, with the words after the program's name. Returns the exit code; the one line that
// says what failed is printed. Once in a process's life.
int run(std::span<const AddVerb> verbs, const std::vector<std::string>& arguments);

}  // namespace ferry::cli
