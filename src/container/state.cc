#include "container/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <ranges>

#include "container/json_access.h"

namespace ferry::container {
namespace {

constexpr std::string_view kDocument = "state.json";
constexpr std::string_view kBundleLabel = "bundle=";
constexpr const char* kStreams = "external_descriptors";

// What config_for_creation() changes has these names in libcontainer's configuration.
constexpr const char* kProcessKeys[] = {"capabilities",     "seccomp",       "no_new_privileges",
                                        "apparmor_profile", "process_label", "rlimits",
                                        "oom_score_adj",    "umask"};

Result<std::string> bundle_in(const Json& config) {
    for (const std::string& label : TRY(texts_in(config, "labels"))) {
        if (label.starts_with(kBundleLabel)) return label.substr(kBundleLabel.size());
    }
    return std::string();
}

Result<std::map<std::string, std::string>> paths_in(const Json& state) {
    std::map<std::string, std::string> paths;
    const Json& object = *TRY(object_in(state, "cgroup_paths"));
    for (const auto& [controller, path] : object.items()) {
        paths[controller] = TRY(text_in(object, controller));
    }
    return paths;
}

Result<StreamLinks> streams_in(const Json& json) {
    StreamLinks streams;
    const auto links = TRY(texts_in(json, kStreams));
    std::ranges::copy(links | std::views::take(streams.size()), streams.begin());
    return streams;
}

Result<ConfiguredIds> ids_in(const Json& config) {
    IdMapNames names = {
        .list = "uid_mappings", .inside = "container_id", .outside = "host_id", .count = "size"};
    ConfiguredIds ids;
    ids.users = TRY(id_map_in(config, names));
    names.list = "gid_mappings";
    ids.groups = TRY(id_map_in(config, names));
    return ids;
}

Result<State> read_state(const Json& json) {
    const Json& config = *TRY(object_in(json, "config"));
    const Json& cgroups = *TRY(object_in(config, "cgroups"));
    const std::uint64_t pid = TRY(number_in(json, "init_process_pid"));
    if (pid > std::numeric_limits<pid_t>::max()) {
        return fail(Error::corrupt(fmt::format("init_process_pid is {}", pid)));
    }
    return State{
        .id = TRY(text_in(json, "id")),
        .init = Pid{static_cast<pid_t>(pid)},
        .init_start = TRY(number_in(json, "init_process_start")),
        .bundle = TRY(bundle_in(config)),
        .rootfs = TRY(text_in(config, "rootfs")),
        .cgroup_paths = TRY(paths_in(json)),
        .streams = TRY(streams_in(json)),
        .ids = TRY(ids_in(config)),
        .rootless = TRY(flag_in(json, "rootless")),
        .systemd_cgroup = TRY(flag_in(cgroups, "Systemd")),
        .apparmor_profile = TRY(text_in(config, "apparmor_profile")),
        .selinux_label = TRY(text_in(config, "process_label")),
    };
}

void put_back(Json& to, const Json& from, const char* key) {
    if (const auto found = from.find(key); found != from.end()) {
        to[key] = *found;
    } else {
        to.erase(key);
    }
}

}  // namespace

Result<State> parse_state(std::string_view text) {
    const Json json = TRY(parse_object(text, kDocument));
    State state = TRY(with_context(read_state(json), kDocument));
    if (state.id.empty()) return fail(Error::corrupt("state.json names no container"));
    if (!state.bundle.starts_with('/')) {
        return fail(Error::corrupt(fmt::format("state.json: the bundle is \"{}\"", state.bundle)));
    }
    if (!state.rootfs.starts_with('/')) {
        return fail(Error::corrupt(fmt::format("state.json: the rootfs is \"{}\"", state.rootfs)));
    }
    return state;
}

Result<std::string> with_original_process(std::string_view created, std::string_view original,
                                          const std::string& bundle, const StreamLinks& streams) {
    Json json = TRY(parse_object(created, kDocument));
    const Json source = TRY(parse_object(original, kDocument));
    TRY(with_context(read_state(json), kDocument));
    const Json& source_config = *TRY(object_in(source, "config"));
    Json& config = json["config"];
    for (const char* key : kProcessKeys) put_back(config, source_config, key);
    if (streams != StreamLinks()) json[kStreams] = streams;
    put_back(json, source, "created");
    Json labels = Json::array();
    for (const std::string& label : TRY(texts_in(config, "labels"))) {
        const bool is_bundle = label.starts_with(kBundleLabel);
        labels.push_back(is_bundle ? std::string(kBundleLabel) + bundle : label);
    }
    config["labels"] = labels;
    return to_text(json);
}

}  // namespace ferry::container
