// runc as a program: what Ferry asks of it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::container {

inline constexpr const char* kRuncRoot = "/run/runc";

struct Runtime {
    std::string program = "runc";  // looked up in PATH
    std::string root = kRuncRoot;  // where it keeps states (--root)

    // Ids as runc allows them. Invalid.
    static Result<> check_id(const std::string& id);

    [[nodiscard]] std::string directory_of(const std::string& id) const;
    // "1.1.5+ds1". Invalid: there is no such program, or it is something else.
    Result<std::string> version() const;
    // The same in two steps, between which it runs.
    struct VersionQuestion {
        os::UniqueFd out;
        os::ChildProcess child;
    };
    Result<VersionQuestion> ask_version() const;
    Result<std::string> answer(VersionQuestion question) const;

    struct Creation {
        std::string id;
        std::string bundle;               // a directory with a config.json
        std::vector<int> passed;          // become 3, 4, ... in the container's first process
        std::string console_socket = {};  // takes the master of its terminal; empty: it has none
    };
    // `runc run --detach`: returns when the first process is about to execute its program.
    Result<> create_and_start(const Creation& creation) const;
    // `runc start`: of what Podman's monitor has made by `runc create`.
    Result<> start(const std::string& id) const;
    // `runc update`. Resources as the OCI runtime specification writes them (JSON).
    Result<> update(const std::string& id, const std::string& resources) const;
    // `runc delete --force`: kills what runs in it. No error if there is no such container.
    Result<> remove(const std::string& id) const;
    // The command line of remove().
    [[nodiscard]] std::vector<std::string> remove_command(const std::string& id) const;

  private:
    [[nodiscard]] std::vector<std::string> command(std::vector<std::string> arguments) const;
};

}  // namespace ferry::container
