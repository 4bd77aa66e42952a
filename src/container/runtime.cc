#include "container/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "container/program.h"
#include "os/fd.h"

namespace ferry::container {
namespace {

Result<> run_quietly(os::Launch launch) {
    TRY(run_checked(std::move(launch)));
    return {};
}

}  // namespace

Result<> Runtime::check_id(const std::string& id) {
    const bool good =
        !id.empty() && id != "." && id != ".." && id.size() <= 255 &&
        std::ranges::all_of(id, [](unsigned char c) {
            return std::isalnum(c) != 0 ||
                   (c != '\0' && std::string_view("_+,-.").contains(static_cast<char>(c)));
        });
    if (good) return {};
    return fail(Error::invalid(fmt::format("\"{}\" is no name of a container", id)));
}

std::string Runtime::directory_of(const std::string& id) const {
    return fmt::format("{}/{}", root, id);
}

// The log of a runtime is its errors again, dressed up.
std::vector<std::string> Runtime::command(std::vector<std::string> arguments) const {
    std::vector<std::string> all = {program, "--root", root, "--log", "/dev/null"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
}

Result<std::string> Runtime::version() const {
    return answer(TRY(ask_version()));
}

Result<Runtime::VersionQuestion> Runtime::ask_version() const {
    os::UniqueFd out = TRY(os::memfd_create("stdout", 0));
    auto child =
        os::ChildProcess::start({.arguments = {program, "--version"}, .stdout_fd = out.get()});
    if (child) return VersionQuestion{.out = std::move(out), .child = std::move(*child)};
    return fail(Error::invalid(fmt::format("the container runtime {} does not run here: {}",
                                           program, child.error().message())));
}

Result<std::string> Runtime::answer(VersionQuestion question) const {
    const auto status = TRY(question.child.wait(kProgramTimeout));
    const std::string out = TRY(begin_of(question.out));
    constexpr std::string_view kBegin = "runc version ";
    const std::string_view first = std::string_view(out).substr(0, out.find('\n'));
    if (status != 0 || !first.starts_with(kBegin)) {
        return fail(Error::invalid(fmt::format("{} is not runc: it says \"{}\"", program, first)));
    }
    return std::string(first.substr(kBegin.size()));
}

// Not killed with us in the middle of its work: what it makes could then not be deleted by name.
Result<> Runtime::create_and_start(const Creation& creation) const {
    std::vector<std::string> arguments = {
        "run",           "--detach",       "--bundle",
        creation.bundle, "--preserve-fds", std::to_string(creation.passed.size())};
    if (!creation.console_socket.empty()) {
        arguments.insert(arguments.end(), {"--console-socket", creation.console_socket});
    }
    arguments.push_back(creation.id);
    return run_quietly({.arguments = command(std::move(arguments)),
                        .passed = creation.passed,
                        .dies_with_parent = false});
}

Result<> Runtime::start(const std::string& id) const {
    return run_quietly({.arguments = command({"start", id}), .dies_with_parent = false});
}

Result<> Runtime::update(const std::string& id, const std::string& resources) const {
    const os::UniqueFd input = TRY(os::memfd_create("resources", 0));
    TRY(os::pwrite_all(input.get(), os::as_bytes(resources), 0));
    return run_quietly({.arguments = command({"update", "--resources", "-", id}),
                        .stdin_fd = input.get(),
                        .dies_with_parent = false});
}

Result<> Runtime::remove(const std::string& id) const {
    return run_quietly({.arguments = remove_command(id), .dies_with_parent = false});
}

std::vector<std::string> Runtime::remove_command(const std::string& id) const {
    return command({"delete", "--force", id});
}

}  // namespace ferry::container
