#include "container/program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>

#include "os/fd.h"

namespace ferry::container {
namespace {

constexpr std::size_t kMessageBytesMax = 4096;

}  // namespace

Result<std::string> begin_of(const os::UniqueFd& file) {
    std::string text(kMessageBytesMax, '\0');
    text.resize(TRY(os::pread(file.get(), std::as_writable_bytes(std::span(text)), 0)));
    return text;
}

// Both streams go to memory files and not to pipes: what the program leaves running keeps them.
Result<Finished> run_program(os::Launch launch) {
    const os::UniqueFd out = TRY(os::memfd_create("stdout", 0));
    const os::UniqueFd err = TRY(os::memfd_create("stderr", 0));
    launch.stdout_fd = out.get();
    launch.stderr_fd = err.get();
    os::ChildProcess child = TRY(os::ChildProcess::start(launch));
    const auto status = TRY(child.wait(kProgramTimeout));
    if (!status) {
        return fail(
            Error::limit(fmt::format("`{}` has not ended in {} s", fmt::join(launch.arguments, " "),
                                     kProgramTimeout.count())));
    }
    return Finished{.status = *status, .out = TRY(begin_of(out)), .err = TRY(begin_of(err))};
}

std::string last_line(std::string text) {
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
        text.pop_back();
    }
    return text.substr(text.rfind('\n') + 1);
}

Result<std::string> run_checked(os::Launch launch) {
    const std::string line = fmt::format("{}", fmt::join(launch.arguments, " "));
    Finished finished = TRY(run_program(std::move(launch)));
    if (finished.status == 0) return std::move(finished.out);
    const std::string said = last_line(finished.err);
    if (!said.empty()) return fail(Error::peer(said));
    return fail(Error::peer(fmt::format("`{}` ended with {}", line, finished.status)));
}

}  // namespace ferry::container
