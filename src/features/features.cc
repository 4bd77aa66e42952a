#include "features/features.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "features/probes.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::features {
namespace {

std::array<std::span<const Probe>, 5> groups() {
    return {privilege_probes(), memory_probes(), task_probes(), file_probes(), network_probes()};
}

Feature attempt(const Probe& probe) {
    Feature feature = {.name = probe.name,
                       .purpose = probe.purpose,
                       .need = probe.need,
                       .available = false,
                       .reason = {}};
    const auto result = probe.attempt();
    feature.available = result.has_value();
    if (!result) feature.reason = result.error().message();
    return feature;
}

std::string_view word_for(Need need) {
    switch (need) {
        case Need::Always:
            return "always";
        case Need::Live:
            return "live";
        case Need::Some:
            return "some";
    }
    return "";
}

}  // namespace

Result<> exists(const char* path) {
    return succeeded(os::fstatat(os::kCwd, path));
}

Result<> in_child(const char* what, int (*body)()) {
    constexpr std::chrono::seconds kPatience{2};
    auto child = TRY(os::ChildProcess::fork([body] { ::_exit(body()); }));
    const auto code = TRY(child.wait(kPatience));
    if (!code) return missing(fmt::format("{} does not return", what));
    if (*code != 0) return fail(Error::system(*code, what));
    return {};
}

const Feature* KernelFeatures::find(std::string_view name) const {
    const auto found = std::ranges::find(all_, name, &Feature::name);
    return found == all_.end() ? nullptr : &*found;
}

bool KernelFeatures::has(std::string_view name) const {
    const Feature* feature = find(name);
    return feature != nullptr && feature->available;
}

bool KernelFeatures::ready_for(Need need) const {
    return std::ranges::all_of(all_,
                               [&](const Feature& f) { return f.available || f.need > need; });
}

KernelFeatures probe() {
    std::vector<Feature> all;
    for (const auto& group : groups()) {
        for (const Probe& entry : group) all.push_back(attempt(entry));
    }
    return KernelFeatures(std::move(all));
}

Result<Feature> probe_one(std::string_view name) {
    for (const auto& group : groups()) {
        for (const Probe& entry : group) {
            if (name == entry.name) return attempt(entry);
        }
    }
    return fail(Error::invalid(fmt::format("there is no feature '{}'", name)));
}

std::vector<std::string> names() {
    std::vector<std::string> result;
    for (const auto& group : groups()) {
        for (const Probe& entry : group) result.emplace_back(entry.name);
    }
    return result;
}

std::string to_table(const KernelFeatures& features) {
    std::size_t width = 0;
    for (const Feature& f : features.all()) width = std::max(width, f.name.size());
    std::string table;
    for (const Feature& f : features.all()) {
        table += fmt::format("{:3}  {:{}}  {:6}  {}\n", f.available ? "yes" : "no", f.name, width,
                             word_for(f.need), f.purpose);
        if (!f.available) table += fmt::format("{:{}}{}\n", "", 3 + 2 + width + 2 + 8, f.reason);
    }
    return table;
}

}  // namespace ferry::features
