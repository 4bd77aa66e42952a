#include <fmt/format.h>

#include "container/container.h"
#include "container/json_access.h"
#include "container/podman_export.h"
#include "proc/mounts.h"
#include "proc/process_directory.h"

namespace ferry::container {
namespace {

Result<Description> read_description(const Json& json) {
    Description description{
        .id = TRY(text_in(json, "id")),
        .runtime_version = TRY(text_in(json, "runtime_version")),
        .runtime_root = TRY(text_in(json, "runtime_root")),
        .bundle = TRY(text_in(json, "bundle")),
        .state = TRY(text_in(json, "state")),
        .config = TRY(text_in(json, "config")),
        .mounts = TRY(text_in(json, "mounts")),
    };
    if (const std::string podman = TRY(text_in(json, "podman")); !podman.empty()) {
        description.podman = TRY(podman_record_from_json(podman));
    }
    TRY(Runtime::check_id(description.id));
    for (const std::string* path : {&description.runtime_root, &description.bundle}) {
        if (!path->starts_with('/')) {
            return fail(Error::corrupt(fmt::format("\"{}\" is no absolute path", *path)));
        }
    }
    TRY(parse_state(description.state));
    TRY(parse_config(description.config));
    TRY(proc::parse_mounts(description.mounts));
    return description;
}

}  // namespace

Result<std::string> Description::name() const {
    return podman ? TRY(parse_podman_config(podman->config)).name : id;
}

Result<Description> describe(const Container& container) {
    const auto init = TRY(proc::ProcessDirectory::open(container.state.init));
    std::optional<PodmanRecord> podman;
    if (container.monitor) {
        podman =
            TRY(export_from_podman(*container.monitor, container.config, container.state.bundle));
    }
    return Description{
        .id = container.state.id,
        .runtime_version = TRY(container.runtime.version()),
        .runtime_root = container.runtime.root,
        .bundle = container.state.bundle,
        .state = container.state_text,
        .config = container.config_text,
        .mounts = TRY(init.text("mountinfo")),
        .podman = std::move(podman),
    };
}

std::string to_json(const Description& description) {
    return to_text(Json{
        {"id", description.id},
        {"runtime_version", description.runtime_version},
        {"runtime_root", description.runtime_root},
        {"bundle", description.bundle},
        {"state", description.state},
        {"config", description.config},
        {"mounts", description.mounts},
        {"podman", description.podman ? to_json(*description.podman) : std::string()},
    });
}

Result<Description> description_from_json(std::string_view text) {
    const Json json = TRY(parse_object(text, "the container's description"));
    return with_context(read_description(json), "the container's description");
}

}  // namespace ferry::container
