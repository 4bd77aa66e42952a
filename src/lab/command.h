// Running a program to its end and keeping what it printed.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/error.h"
#include "os/launch.h"

namespace ferry::lab {

struct CommandResult {
    int status = 0;  // exit code, or 128 + signal
    std::string out, err;
};

// Sets stdin (the input), stdout and stderr of `launch`. A program that is not finished after the
// timeout is killed: Error::Kind::Limit. Any exit status is a success of run().
// `on_line` gets each complete line of stdout as it comes, without its end.
using OnLine = std::function<void(const std::string& line)>;
Result<CommandResult> run(os::Launch launch, std::chrono::milliseconds timeout,
                          const std::string& input = {}, const OnLine& on_line = {});
// The standard output of a program that must exit with 0; otherwise an error with what it said.
Result<std::string> run_checked(os::Launch launch, std::chrono::milliseconds timeout,
                                const std::string& input = {});

}  // namespace ferry::lab
