// config.json of an OCI bundle (OCI runtime specification 1.0.2): what Ferry has to know of it, and
// the altered one with which a container is made that Ferry fills.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "proc/user_namespace.h"

namespace ferry::container {

struct ConfiguredMount {
    std::string destination, type, source;
    std::vector<std::string> options;
    bool is_id_mapped = false;  // with ids of its own (uidMappings)
    bool operator==(const ConfiguredMount&) const = default;

    [[nodiscard]] bool is_bind() const;
};

struct ConfiguredNamespace {
    std::string type;  // "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"
    std::string path;  // of one that is joined; empty: a new one
    bool operator==(const ConfiguredNamespace&) const = default;
};

// Of a user namespace (linux.uidMappings and gidMappings, libcontainer's uid_mappings and
// gid_mappings).
struct ConfiguredIds {
    proc::IdMap users, groups;
    bool operator==(const ConfiguredIds&) const = default;
};

struct Config {
    std::string rootfs;        // as written: relative to the bundle, or absolute
    std::string cgroups_path;  // empty: runc takes the id
    bool terminal = false;
    std::uint32_t user = 0;  // whom its first program is run by, as inside
    std::vector<ConfiguredMount> mounts;
    std::vector<ConfiguredNamespace> namespaces;
    ConfiguredIds ids = {};
    std::vector<std::string> hooks;            // kinds of which there are any: "prestart", ...
    std::vector<std::string> protected_paths;  // masked or made read-only
    bool seccomp_listener = false;             // filters that ask a supervisor
    bool intel_rdt = false;

    // nullptr: the container has its host's.
    [[nodiscard]] const ConfiguredNamespace* find_namespace(std::string_view type) const;
    // `user` as the host sees it; nullopt: its user namespace has nobody for that.
    [[nodiscard]] std::optional<std::uint32_t> user_of_host() const;
};

// Of what a configuration names in the bundle: `path` may be relative to it.
[[nodiscard]] std::string path_from(const std::string& bundle, const std::string& path);

// Corrupt, with the name of what makes no sense; Limit.
Result<Config> parse_config(std::string_view text);

struct FirstProgram {
    std::vector<std::string> arguments;     // [0] is looked up in the container
    std::vector<std::string> capabilities;  // "CAP_CHOWN", ...
    std::string rootfs;                     // absolute
};
// The same container with another first program: run by root with these capabilities, without
// limits, without what confines a program (seccomp, AppArmor, SELinux, no_new_privs).
Result<std::string> config_for_creation(std::string_view text, const FirstProgram& program);

}  // namespace ferry::container
