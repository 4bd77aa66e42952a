// A container that runc runs on this host: found by its name, looked at, described for another
// host. Everything read here (state.json, config.json, procfs) is treated as foreign.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "container/config.h"
#include "container/podman.h"
#include "container/runtime.h"
#include "container/state.h"

namespace ferry::container {

enum class Status {
    Created,  // its program waits for `runc start`
    Running,
    Paused,
    Stopped,  // its first process has ended
};
[[nodiscard]] std::string_view name_of(Status status);

struct Container {
    Runtime runtime;
    State state;
    Config config;
    Status status = Status::Stopped;
    std::optional<Monitor> monitor = {};  // where Podman has made it
    std::string state_text, config_text;
};

// Invalid: there is no such container, or it has no bundle any more. Corrupt: a document makes no
// sense.
Result<Container> find(const std::string& id, const Runtime& runtime);
// Also by the name that Podman has given it; then whatever the runtime root.
Result<Container> find_anywhere(const std::string& name, const Runtime& runtime);

// What of its configuration and of its runtime's view cannot be carried, by name.
std::vector<std::string> obstacles(const Config& config, const State& state);

// Unsupported, with the name of everything that cannot be carried: it is not running, it has no pid
// or mount namespace of its own, hooks, a cgroup of systemd's, ...
Result<> check_movable(const Container& container);

// Processes in the container that do not descend from its first one (`runc exec`), ascending. They
// would stay behind. Changes while the container runs.
Result<std::vector<Pid>> strangers(const Container& container);

// After a migration: nothing of the container remains, its runtime (and Podman) has forgotten it.
// Whoever holds a container of that name that is not this one (it was made meanwhile) keeps it:
// Error::Kind::Gone.
Result<> remove(const Container& container);

// What another host has to know to make the same container. What changes while it runs is as of
// now: describe it again when it stands still and compare.
struct Description {
    std::string id;
    std::string runtime_version;  // of runc
    std::string runtime_root;
    std::string bundle;
    std::string state, config;                // the documents
    std::string mounts;                       // /proc/PID/mountinfo of its first process
    std::optional<PodmanRecord> podman = {};  // where Podman has made it
    bool operator==(const Description&) const = default;

    // As its users call it. Corrupt.
    [[nodiscard]] Result<std::string> name() const;
};
Result<Description> describe(const Container& container);

// As JSON text. Corrupt: the peer sent nonsense.
std::string to_json(const Description& description);
Result<Description> description_from_json(std::string_view text);

}  // namespace ferry::container
