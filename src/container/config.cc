#include "container/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>

#include "container/json_access.h"

namespace ferry::container {
namespace {

constexpr std::string_view kDocument = "config.json";

Result<std::vector<ConfiguredMount>> mounts_in(const Json& config) {
    std::vector<ConfiguredMount> mounts;
    for (const Json& mount : *TRY(objects_in(config, "mounts"))) {
        mounts.push_back({.destination = TRY(text_in(mount, "destination")),
                          .type = TRY(text_in(mount, "type")),
                          .source = TRY(text_in(mount, "source")),
                          .options = TRY(texts_in(mount, "options")),
                          .is_id_mapped = !TRY(array_in(mount, "uidMappings"))->empty() ||
                                          !TRY(array_in(mount, "gidMappings"))->empty()});
    }
    return mounts;
}

Result<std::vector<ConfiguredNamespace>> namespaces_in(const Json& linux_part) {
    std::vector<ConfiguredNamespace> namespaces;
    for (const Json& entry : *TRY(objects_in(linux_part, "namespaces"))) {
        namespaces.push_back(
            {.type = TRY(text_in(entry, "type")), .path = TRY(text_in(entry, "path"))});
    }
    return namespaces;
}

Result<std::vector<std::string>> hooks_in(const Json& config) {
    constexpr std::array kKinds = {"prestart",       "createRuntime", "createContainer",
                                   "startContainer", "poststart",     "poststop"};
    const Json& hooks = *TRY(object_in(config, "hooks"));
    std::vector<std::string> kinds;
    for (const char* kind : kKinds) {
        if (!TRY(array_in(hooks, kind))->empty()) kinds.emplace_back(kind);
    }
    return kinds;
}

Result<std::uint32_t> user_in(const Json& process) {
    const std::uint64_t user = TRY(number_in(*TRY(object_in(process, "user")), "uid"));
    constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
    if (user < kMax) return static_cast<std::uint32_t>(user);
    return fail(Error::corrupt(fmt::format("\"uid\" is {}", user)));
}

Result<Config> read_config(const Json& json) {
    const Json& linux_part = *TRY(object_in(json, "linux"));
    std::vector<std::string> protected_paths = TRY(texts_in(linux_part, "maskedPaths"));
    std::ranges::move(TRY(texts_in(linux_part, "readonlyPaths")),
                      std::back_inserter(protected_paths));
    const Json& process = *TRY(object_in(json, "process"));
    const Json& seccomp = *TRY(object_in(linux_part, "seccomp"));
    return Config{
        .rootfs = TRY(text_in(*TRY(object_in(json, "root")), "path")),
        .cgroups_path = TRY(text_in(linux_part, "cgroupsPath")),
        .terminal = TRY(flag_in(process, "terminal")),
        .user = TRY(user_in(process)),
        .mounts = TRY(mounts_in(json)),
        .namespaces = TRY(namespaces_in(linux_part)),
        .ids = {.users = TRY(id_map_in(linux_part, {.list = "uidMappings"})),
                .groups = TRY(id_map_in(linux_part, {.list = "gidMappings"}))},
        .hooks = TRY(hooks_in(json)),
        .protected_paths = std::move(protected_paths),
        .seccomp_listener = !TRY(text_in(seccomp, "listenerPath")).empty(),
        .intel_rdt = member(linux_part, "intelRdt") != nullptr,
    };
}

}  // namespace

bool ConfiguredMount::is_bind() const {
    return type == "bind" || std::ranges::any_of(options, [](const std::string& option) {
               return option == "bind" || option == "rbind";
           });
}

const ConfiguredNamespace* Config::find_namespace(std::string_view type) const {
    const auto found = std::ranges::find(namespaces, type, &ConfiguredNamespace::type);
    return found == namespaces.end() ? nullptr : &*found;
}

std::optional<std::uint32_t> Config::user_of_host() const {
    return find_namespace("user") == nullptr ? user : ids.users.outside(user);
}

std::string path_from(const std::string& bundle, const std::string& path) {
    return path.starts_with('/') ? path : fmt::format("{}/{}", bundle, path);
}

Result<Config> parse_config(std::string_view text) {
    const Json json = TRY(parse_object(text, kDocument));
    Config config = TRY(with_context(read_config(json), kDocument));
    if (config.rootfs.empty()) return fail(Error::corrupt("config.json names no root file system"));
    return config;
}

Result<std::string> config_for_creation(std::string_view text, const FirstProgram& program) {
    Json json = TRY(parse_object(text, kDocument));
    TRY(with_context(read_config(json), kDocument));
    json["root"]["path"] = program.rootfs;
    Json& process = json["process"];
    for (const char* key : {"rlimits", "oomScoreAdj", "apparmorProfile", "selinuxLabel",
                            "consoleSize", "ioPriority", "scheduler"}) {
        process.erase(key);
    }
    process["user"] = {{"uid", 0}, {"gid", 0}};
    process["args"] = program.arguments;
    process["env"] = Json::array();
    process["cwd"] = "/";
    process["noNewPrivileges"] = false;
    process["capabilities"] = Json::object();
    for (const char* set : {"bounding", "effective", "permitted"}) {
        process["capabilities"][set] = program.capabilities;
    }
    if (json.contains("linux")) json["linux"].erase("seccomp");
    return to_text(json);
}

}  // namespace ferry::container
