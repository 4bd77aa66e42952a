#include "container/json_access.h"

#include <fmt/format.h>

#include <limits>

#include "base/limits.h"

namespace ferry::container {
namespace {

std::unexpected<Error> corrupt(std::string_view key, std::string_view wanted) {
    return fail(Error::corrupt(fmt::format("\"{}\" is not {}", key, wanted)));
}

}  // namespace

Result<Json> parse_object(std::string_view text, std::string_view what) {
    if (text.size() > limits::kContainerDocumentBytesMax) {
        return fail(Error::limit(fmt::format("{} has {} bytes, more than {}", what, text.size(),
                                             limits::kContainerDocumentBytesMax)));
    }
    constexpr bool kNoExceptions = false;
    Json json = Json::parse(text, nullptr, kNoExceptions);
    if (!json.is_object()) return fail(Error::corrupt(fmt::format("{} is no JSON object", what)));
    return json;
}

std::string to_text(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* member(const Json& object, std::string_view key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> text_in(const Json& object, std::string_view key) {
    const Json* found = member(object, key);
    if (found == nullptr) return std::string();
    if (!found->is_string()) return corrupt(key, "a text");
    auto text = found->get<std::string>();
    if (text.find('\0') != std::string::npos) return corrupt(key, "a text without zeros");
    return text;
}

Result<std::uint64_t> number_in(const Json& object, std::string_view key) {
    const Json* found = member(object, key);
    if (found == nullptr) return 0;
    if (!found->is_number_unsigned()) return corrupt(key, "a number");
    return found->get<std::uint64_t>();
}

Result<std::int64_t> signed_in(const Json& object, std::string_view key) {
    const Json* found = member(object, key);
    if (found == nullptr) return 0;
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (!found->is_number_integer() ||
        (found->is_number_unsigned() && found->get<std::uint64_t>() > kMax)) {
        return corrupt(key, "a number");
    }
    return found->get<std::int64_t>();
}

Result<bool> flag_in(const Json& object, std::string_view key) {
    const Json* found = member(object, key);
    if (found == nullptr) return false;
    if (!found->is_boolean()) return corrupt(key, "true or false");
    return found->get<bool>();
}

Result<const Json*> array_in(const Json& object, std::string_view key) {
    static const Json empty = Json::array();
    const Json* found = member(object, key);
    if (found == nullptr) return &empty;
    if (!found->is_array()) return corrupt(key, "a list");
    return found;
}

Result<const Json*> objects_in(const Json& object, std::string_view key) {
    const Json* array = TRY(array_in(object, key));
    for (const Json& element : *array) {
        if (!element.is_object()) return corrupt(key, "a list of objects");
    }
    return array;
}

Result<const Json*> object_in(const Json& object, std::string_view key) {
    static const Json empty = Json::object();
    const Json* found = member(object, key);
    if (found == nullptr) return &empty;
    if (!found->is_object()) return corrupt(key, "an object");
    return found;
}

Result<std::vector<std::string>> texts_in(const Json& object, std::string_view key) {
    std::vector<std::string> texts;
    for (const Json& element : *TRY(array_in(object, key))) {
        if (!element.is_string()) return corrupt(key, "a list of texts");
        texts.push_back(element.get<std::string>());
    }
    return texts;
}

Result<proc::IdMap> id_map_in(const Json& object, const IdMapNames& names) {
    std::vector<proc::IdRange> ranges;
    for (const Json& entry : *TRY(objects_in(object, names.list))) {
        const std::uint64_t inside = TRY(number_in(entry, names.inside));
        const std::uint64_t outside = TRY(number_in(entry, names.outside));
        const std::uint64_t count = TRY(number_in(entry, names.count));
        constexpr std::uint64_t kMax = std::numeric_limits<std::uint32_t>::max();
        if (inside > kMax || outside > kMax || count > kMax) {
            return fail(Error::corrupt(fmt::format("\"{}\" has ids above {}", names.list, kMax)));
        }
        ranges.push_back({.inside = static_cast<std::uint32_t>(inside),
                          .outside = static_cast<std::uint32_t>(outside),
                          .count = static_cast<std::uint32_t>(count)});
    }
    return proc::IdMap(std::move(ranges));
}

}  // namespace ferry::container
