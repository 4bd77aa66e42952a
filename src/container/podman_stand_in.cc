#include "container/podman_stand_in.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "container/json_access.h"
#include "container/podman_network.h"
#include "container/podman_socket.h"
#include "container/program.h"
#include "os/endpoint.h"
#include "os/fd.h"
#include "os/launch.h"
#include "os/spawn.h"

namespace ferry::container {
namespace {

using Words = std::vector<std::string>;

constexpr std::chrono::hours kNoHurry{24};

std::string value_of(const Words& words, std::string_view option) {
    const auto found = std::ranges::find(words, option);
    return found == words.end() || std::next(found) == words.end() ? "" : *std::next(found);
}

// Of the runtime's arguments, those that come before its verb.
Words before(const Words& words, std::string_view verb) {
    return {words.begin(), std::ranges::find(words, verb)};
}

Result<> make_directory(const std::string& path) {
    const auto made = os::mkdirat(os::kCwd, path, 0700);
    if (made || made.error().code() == EEXIST) return {};
    return made;
}

// CRIU's RPC (criu.org/RPC): a request {1: type}, the answer {1: type, 2: success, 10: {1: 4, 2:
// 2}}.
Result<int> answer_version(const Words& words) {
    const std::string number = value_of(words, "swrk");
    int socket = -1;
    std::from_chars(number.data(), number.data() + number.size(), socket);
    std::array<std::byte, 4096> request{};
    const std::size_t size = TRY(os::recv(socket, request, 0));
    if (size < 2 || request[0] != std::byte{0x08}) return EXIT_FAILURE;
    const std::array<std::byte, 10> answer = {
        std::byte{0x08}, request[1],      std::byte{0x10}, std::byte{1},    std::byte{0x52},
        std::byte{4},    std::byte{0x08}, std::byte{4},    std::byte{0x10}, std::byte{2}};
    TRY(os::send(socket, answer, 0));
    return EXIT_SUCCESS;
}

Result<int> checkpoint(const Words& words) {
    if (std::ranges::find(words, "--help") != words.end()) return EXIT_SUCCESS;
    const std::string images = value_of(words, "--image-path");
    const std::string work = value_of(words, "--work-path");
    TRY(make_directory(images));
    TRY(os::write_file(os::kCwd, images + "/inventory.img", ""));
    // Podman takes it along if it is there, and says so if it is not.
    TRY(os::write_file(os::kCwd, work + "/stats-dump", ""));
    return EXIT_SUCCESS;
}

// With our standard streams, which are the monitor's.
Result<Finished> create(const std::string& directory, const Words& words, const std::string& bundle,
                        const std::vector<os::UniqueFd>& fds) {
    os::Launch launch{.arguments = before(words, "restore"),
                      .stdin_fd = 0,
                      .stdout_fd = 1,
                      .stderr_fd = 2,
                      .dies_with_parent = false};
    launch.arguments.insert(launch.arguments.begin(), directory + "/" + kRealRuntime);
    Words arguments = {"create",
                       "--bundle",
                       bundle,
                       "--pid-file",
                       value_of(words, "--pid-file"),
                       "--preserve-fds",
                       std::to_string(fds.size())};
    constexpr const char* kConsole = "--console-socket";  // where it has a terminal
    if (const std::string socket = value_of(words, kConsole); !socket.empty()) {
        arguments.insert(arguments.end(), {kConsole, socket});
    }
    arguments.push_back(words.back());
    std::ranges::move(arguments, std::back_inserter(launch.arguments));
    for (const os::UniqueFd& fd : fds) launch.passed.push_back(fd.get());
    os::ChildProcess child = TRY(os::ChildProcess::start(launch));
    const auto status = TRY(child.wait(kNoHurry));
    return Finished{.status = status.value_or(EXIT_FAILURE),
                    .out = {},
                    .err = os::read_file(value_of(words, "--log")).value_or("")};
}

Result<int> restore(const std::string& directory, const Words& words) {
    const os::UniqueFd socket =
        TRY(connect_stand_in(fmt::format("{}/{}", directory, kStandInSocket)));
    TRY(send_message(socket.get(),
                     to_text({{"id", words.back()}, {"bundle", value_of(words, "--bundle")}}),
                     std::array{0, 1, 2}));
    for (;;) {
        const SocketMessage order = TRY(receive_message(socket.get()));
        const Json json = TRY(parse_object(order.text, "the worker's order"));
        if (member(json, "end") != nullptr) return static_cast<int>(TRY(number_in(json, "end")));
        const Finished finished =
            TRY(create(directory, words, TRY(text_in(json, "create")), order.fds));
        TRY(send_message(socket.get(),
                         to_text({{"status", finished.status}, {"error", last_line(finished.err)}}),
                         {}));
    }
}

Result<int> pass_on(const std::string& directory, Words words) {
    words.insert(words.begin(), directory + "/" + kRealRuntime);
    os::ChildProcess child = TRY(os::ChildProcess::start(
        {.arguments = std::move(words), .stdin_fd = 0, .stdout_fd = 1, .stderr_fd = 2}));
    const auto status = TRY(child.wait(kNoHurry));
    return status.value_or(EXIT_FAILURE);
}

// Comes back only where that fails.
Result<int> become_monitor(const std::string& directory, Words words) {
    constexpr const char* kVariable = "CONTAINERS_CONF";
    const auto own = os::readlinkat(os::kCwd, fmt::format("{}/{}", directory, kOwnConfiguration));
    if (own) {
        ::setenv(kVariable, own->c_str(), 1);
    } else {
        ::unsetenv(kVariable);
    }
    const std::string real = fmt::format("{}/{}", directory, kRealMonitor);
    words.insert(words.begin(), TRY(os::readlinkat(os::kCwd, real)));
    return fail(os::execute(words.front(), words));
}

Result<int> run(const std::string& directory, std::string_view name, const Words& words) {
    if (name == kCriuStandIn) return answer_version(words);
    if (name == kMonitorStandIn) return become_monitor(directory, words);
    if (name == kNetworkStandIn) return run_network_stand_in(directory, words);
    const auto has = [&words](std::string_view verb) {
        return std::ranges::find(words, verb) != words.end();
    };
    if (has("checkpoint")) return checkpoint(words);
    if (has("restore")) return restore(directory, words);
    return pass_on(directory, words);
}

}  // namespace

std::optional<int> run_stand_in(std::span<char* const> arguments, StandInFor whom) {
    const std::string_view path = arguments.empty() ? "" : arguments.front();
    const std::string_view name = path.substr(path.rfind('/') + 1);
    const bool as_criu = name == kCriuStandIn && whom == StandInFor::PodmansProgramsAndCriu;
    constexpr std::array kNames = {kRuntimeStandIn, kNetworkStandIn, kMonitorStandIn};
    if (std::ranges::find(kNames, name) == kNames.end() && !as_criu) return std::nullopt;
    const std::string directory(path.substr(0, path.size() - name.size() - (name != path)));
    const auto status = run(directory, name, Words(std::next(arguments.begin()), arguments.end()));
    if (status) return *status;
    const std::string line = status.error().message() + "\n";
    static_cast<void>(os::write_all(2, os::as_bytes(line)));
    return EXIT_FAILURE;
}

}  // namespace ferry::container
