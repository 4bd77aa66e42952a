#include "container/podman_users.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>
#include <sstream>
#include <vector>

#include "container/json_access.h"
#include "os/fd.h"

namespace ferry::container {
namespace {

// As containers/storage writes them.
constexpr std::string_view kInside = "container_id", kOutside = "host_id", kCount = "size";

// Ids of the host: the first, and the one behind the last.
struct Span {
    std::uint64_t begin = 0, end = 0;
};

Span span_of(const proc::IdRange& range) {
    return {.begin = range.outside, .end = std::uint64_t{range.outside} + range.count};
}

std::string in_words(const Span& span) {
    return fmt::format("{} to {}", span.begin, span.end - 1);
}

struct Kind {
    std::string_view word;
    const char* recorded;  // in Podman's configuration
    const char* stored;    // in its storage
    std::string IdSources::* file;
    const char* additional;  // of its options for a range that it chooses
};
constexpr std::array kKinds = {
    Kind{"user", "UIDMap", "uidmap", &IdSources::users, "AdditionalUIDMappings"},
    Kind{"group", "GIDMap", "gidmap", &IdSources::groups, "AdditionalGIDMappings"}};

Result<proc::IdMap> map_in(const Json& object, std::string_view list) {
    return id_map_in(object,
                     {.list = list, .inside = kInside, .outside = kOutside, .count = kCount});
}

constexpr std::string_view kWhat = "Podman's configuration of the container";
constexpr const char* kOptions = "idMappingsOptions";

// nullopt: its ids, if it has any, are not of Podman's choice.
Result<std::optional<Json>> chosen_ids(const Json& config) {
    const Json& options = *TRY(object_in(config, kOptions));
    if (!TRY(flag_in(options, "AutoUserNs"))) return std::nullopt;
    for (const Kind& kind : kKinds) TRY(map_in(options, kind.recorded));
    return options;
}

// How many there are without a gap.
std::uint32_t ids_from_root(const proc::IdMap& map) {
    std::vector<proc::IdRange> ranges = map.ranges();
    std::ranges::sort(ranges, {}, &proc::IdRange::inside);
    std::uint32_t size = 0;
    for (const proc::IdRange& range : ranges) {
        if (range.inside != size) break;
        size += range.count;
    }
    return size;
}

// A file that is not there has nothing.
Result<std::string> text_of(const std::string& path) {
    auto text = os::read_file(path);
    if (!text && text.error().code() == ENOENT) return std::string();
    return text;
}

// Whose subordinate ids Podman chooses from.
Result<std::string> chooser(const std::string& storage) {
    constexpr std::string_view kKey = "root-auto-userns-user";
    std::istringstream lines(TRY(text_of(storage)));
    for (std::string line; std::getline(lines, line);) {
        const auto key = line.find_first_not_of(" \t");
        if (key == std::string::npos || line.compare(key, kKey.size(), kKey) != 0) continue;
        const auto begin = line.find('"'), end = line.rfind('"');
        if (begin < end) return line.substr(begin + 1, end - begin - 1);
    }
    return std::string("containers");
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool is_good = error == std::errc() && end == text.data() + text.size() &&
                         number <= std::numeric_limits<std::uint32_t>::max();
    return is_good ? std::optional(number) : std::nullopt;
}

// subuid(5): "name:first:count". Lines that make no sense give nobody anything.
std::vector<Span> subordinates_of(const std::string& name, const std::string& text) {
    std::vector<Span> spans;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(name + ":")) continue;
        const std::string_view rest = std::string_view(line).substr(name.size() + 1);
        const auto colon = rest.find(':');
        if (colon == std::string_view::npos) continue;
        const auto first = number_of(rest.substr(0, colon)),
                   count = number_of(rest.substr(colon + 1));
        if (first && count) spans.push_back({.begin = *first, .end = *first + *count});
    }
    return spans;
}

bool covered(Span wanted, const std::vector<Span>& spans) {
    while (wanted.begin < wanted.end) {
        const auto next = std::ranges::find_if(spans, [&wanted](const Span& span) {
            return span.begin <= wanted.begin && wanted.begin < span.end;
        });
        if (next == spans.end()) return false;
        wanted.begin = next->end;
    }
    return true;
}

Result<> check_unused(const Span& wanted, const Kind& kind, const Json& containers) {
    for (const Json& other : *TRY(objects_in(containers, "containers"))) {
        const proc::IdMap ids = TRY(map_in(other, kind.stored));
        for (const proc::IdRange& range : ids.ranges()) {
            const Span taken = span_of(range);
            if (taken.end <= wanted.begin || wanted.end <= taken.begin) continue;
            const auto names = TRY(texts_in(other, "names"));
            return fail(Error::invalid(
                fmt::format("the {} ids {}, which Podman has chosen at the source (--userns=auto), "
                            "are those of the container {} here",
                            kind.word, in_words(wanted),
                            names.empty() ? TRY(text_in(other, "id")) : names.front())));
        }
    }
    return {};
}

}  // namespace

Result<std::string> with_same_ids(std::string_view config) {
    Json json = TRY(parse_object(config, kWhat));
    const auto ids = TRY(with_context(chosen_ids(json), kWhat));
    if (!ids) return std::string(config);
    // What is asked for in addition is not chosen, and nothing else is needed up to this size.
    Json& options = json[kOptions]["AutoUserNsOpts"];
    if (!options.is_object()) options = Json::object();
    std::uint32_t size = std::numeric_limits<std::uint32_t>::max();
    for (const Kind& kind : kKinds) {
        options[kind.additional] = (*ids)[kind.recorded];
        size = std::min(size, ids_from_root(TRY(map_in(*ids, kind.recorded))));
    }
    options["Size"] = size;
    return to_text(json);
}

Result<> check_ids(std::string_view config, const IdSources& here) {
    const Json json = TRY(parse_object(config, kWhat));
    const auto ids = TRY(with_context(chosen_ids(json), kWhat));
    if (!ids) return {};
    const std::string user = TRY(chooser(here.storage));
    const std::string stored = TRY(text_of(here.containers));
    const Json containers = TRY(parse_object(
        fmt::format("{{\"containers\":{}}}", stored.empty() ? "[]" : stored), here.containers));
    for (const Kind& kind : kKinds) {
        const auto spans = subordinates_of(user, TRY(text_of(here.*kind.file)));
        const proc::IdMap map = TRY(map_in(*ids, kind.recorded));
        for (const proc::IdRange& range : map.ranges()) {
            const Span wanted = span_of(range);
            if (!covered(wanted, spans)) {
                return fail(Error::invalid(fmt::format(
                    "the {} ids {}, which Podman has chosen at the source (--userns=auto), are not "
                    "all among those that {} gives to \"{}\" here",
                    kind.word, in_words(wanted), here.*kind.file, user)));
            }
            TRY(check_unused(wanted, kind, containers));
        }
    }
    return {};
}

}  // namespace ferry::container
