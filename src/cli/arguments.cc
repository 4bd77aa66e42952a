#include "cli/arguments.h"

#include <charconv>
#include <string_view>

namespace ferry::cli {

namespace {

// What follows -v in the same word. Plain -v's add up over the command line, a number replaces.
int verbosity_of(std::string_view attached, int so_far) {
    if (attached.find_first_not_of('v') == std::string_view::npos) {
        return so_far + 1 + static_cast<int>(attached.size());
    }
    int number = 0;
    std::from_chars(attached.data(), attached.data() + attached.size(), number);
    return number;
}

}  // namespace

std::vector<std::string> rewrite_arguments(const std::vector<std::string>& arguments) {
    std::vector<std::string> rewritten;
    int verbosity = 0;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        if (argument == "--") {
            rewritten.insert(rewritten.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i),
                             arguments.end());
            break;
        }
        if (argument.starts_with("-v")) {
            verbosity = verbosity_of(std::string_view(argument).substr(2), verbosity);
            rewritten.push_back("--verbosity=" + std::to_string(verbosity));
        } else if (argument == "--manage-cgroups") {
            rewritten.push_back("--manage-cgroups=soft");
        } else {
            rewritten.push_back(argument);
        }
    }
    return rewritten;
}

}  // namespace ferry::cli
