#include "lab/sample_lines.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "lab/sampler.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

constexpr int kCountsEvery = 10;  // intervals: counting open files is dear

// The control groups of a container as runc's state says; none while it is not here.
std::vector<std::string> groups_of(const std::string& runtime_root, const std::string& container) {
    const std::string text =
        os::read_file(runtime_root + "/" + container + "/state.json").value_or("");
    const nlohmann::json state = nlohmann::json::parse(text, nullptr, false);
    std::vector<std::string> groups;
    if (!state.is_object() || !state.contains("cgroup_paths")) return groups;
    for (const auto& [controller, path] : state["cgroup_paths"].items()) {
        if (path.is_string()) groups.push_back(path.get<std::string>());
    }
    return groups;
}

std::vector<SampleSource> sources_of(const SampleLinesOptions& options) {
    std::vector<SampleSource> sources = {machine_memory(0, "host"), machine_cpu(0, "host"),
                                         process_cpu(0, "ferryd", processes_of_command("ferryd")),
                                         network_device(0, options.device, "/proc/self/net")};
    for (const std::string& name : options.containers) {
        const auto groups = [root = options.runtime_root, name] { return groups_of(root, name); };
        // A container comes and goes: each read asks again where it is.
        const auto follow = [&](const auto& make, int every) {
            sources.push_back(
                {make({}).gauges, [make, groups] { return make(groups()).read(); }, every});
        };
        using Groups = std::vector<std::string>;
        follow(
            [name](Groups at) {
                return group_memory(Quantity::ContainerMemory, 0, name, std::move(at));
            },
            1);
        follow([name](Groups at) { return group_cpu(0, name, std::move(at)); }, 1);
        follow(
            [name](Groups at) {
                return object_counts(0, name, processes_of_group(std::move(at)), 1);
            },
            kCountsEvery);
    }
    return sources;
}

}  // namespace

Result<> print_samples(const SampleLinesOptions& options) {
    Sampler sampler(RunClock(), sources_of(options), options.interval,
                    [](const Gauge& gauge, double value) {
                        fmt::print("{}\n", to_text({gauge.quantity, gauge.subject, value}));
                        std::fflush(stdout);
                    });
    std::array<std::byte, 64> ignored;
    while (TRY(os::read(STDIN_FILENO, ignored)) > 0) continue;
    return {};
}

std::string to_text(const SampleLine& line) {
    return nlohmann::json::array({name_of(line.quantity), line.subject, line.value})
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<SampleLine> sample_line_from(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    const bool fits = json.is_array() && json.size() == 3 && json[0].is_string() &&
                      json[1].is_string() && json[2].is_number();
    const auto quantity = fits ? quantity_of(json[0].get<std::string>()) : std::nullopt;
    if (!quantity) return fail(Error::corrupt("no sample: " + text.substr(0, 200)));
    return SampleLine{*quantity, json[1].get<std::string>(), json[2].get<double>()};
}

}  // namespace ferry::lab
