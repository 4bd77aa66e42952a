#include "os/spawn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace ferry::os {

namespace {

// What exec wants; valid as long as the strings are.
std::vector<char*> argument_vector(const std::vector<std::string>& arguments) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) {
        argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    return argv;
}

}  // namespace

Error execute(const std::string& path, const std::vector<std::string>& arguments) {
    ::execv(path.c_str(), argument_vector(arguments).data());
    const int code = errno;
    return Error::system(code, fmt::format("execv({})", path));
}

Result<Pid> spawn(const SpawnRequest& request) {
    const std::vector<char*> argv = argument_vector(request.arguments);

    // Targets must not overwrite sources that are still to be duplicated: go through copies above
    // all targets. posix_spawn's dup2 clears close-on-exec.
    int highest = 2;
    for (const auto& [ours, theirs] : request.descriptors) highest = std::max(highest, theirs);
    std::vector<UniqueFd> copies;
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    for (const auto& [ours, theirs] : request.descriptors) {
        const int copy = ::fcntl(ours, F_DUPFD_CLOEXEC, highest + 1);
        if (copy < 0) {
            const int code = errno;
            posix_spawn_file_actions_destroy(&actions);
            return fail(Error::system(code, fmt::format("dup({})", ours)));
        }
        copies.emplace_back(copy);
        CHECK(posix_spawn_file_actions_adddup2(&actions, copy, theirs) == 0);
    }
    CHECK(posix_spawn_file_actions_addclosefrom_np(&actions, highest + 1) == 0);

    posix_spawnattr_t attributes;
    CHECK(posix_spawnattr_init(&attributes) == 0);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    CHECK(posix_spawnattr_setsigmask(&attributes, &none) == 0);
    CHECK(posix_spawnattr_setsigdefault(&attributes, &all) == 0);
    CHECK(posix_spawnattr_setpgroup(&attributes, 0) == 0);
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                      (request.own_group ? POSIX_SPAWN_SETPGROUP : 0);
    CHECK(posix_spawnattr_setflags(&attributes, static_cast<short>(flags)) == 0);

    pid_t child = -1;
    const int code =
        ::posix_spawn(&child, request.path.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (code != 0) return fail(Error::system(code, fmt::format("posix_spawn({})", request.path)));
    return Pid{child};
}

Result<int> wait_child(Pid child) {
    int status = 0;
    pid_t reaped = ::waitpid(child.value, &status, 0);
    while (reaped < 0 && errno == EINTR) reaped = ::waitpid(child.value, &status, 0);
    if (reaped < 0) {
        const int code = errno;
        return fail(Error::system(code, fmt::format("waitpid({})", child)));
    }
    return status;
}

}  // namespace ferry::os
