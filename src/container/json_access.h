// Reading foreign JSON (runc's state, OCI configurations, descriptions from a peer): every access
// is checked, so that nonsense is Error::Kind::Corrupt with a name and nothing else. For this
// module's .cc files only; no other header shows the library.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "proc/user_namespace.h"

namespace ferry::container {

// Keeps the order of keys: a document that is changed and written again stays readable.
using Json = nlohmann::ordered_json;

// An object. `what` names the document in errors.
Result<Json> parse_object(std::string_view text, std::string_view what);
[[nodiscard]] std::string to_text(const Json& json);

// The member, or nullptr where it is missing or null (Go writes null for what is empty).
[[nodiscard]] const Json* member(const Json& object, std::string_view key);
// Missing or null: an empty text, 0, false, an empty array or object. Another type is Corrupt.
Result<std::string> text_in(const Json& object, std::string_view key);
Result<std::uint64_t> number_in(const Json& object, std::string_view key);
Result<std::int64_t> signed_in(const Json& object, std::string_view key);
Result<bool> flag_in(const Json& object, std::string_view key);
Result<const Json*> array_in(const Json& object, std::string_view key);
Result<const Json*> objects_in(const Json& object, std::string_view key);  // an array of objects
Result<const Json*> object_in(const Json& object, std::string_view key);
Result<std::vector<std::string>> texts_in(const Json& object, std::string_view key);

// The mapping of a user namespace: objects with three numbers, which these documents name
// differently.
struct IdMapNames {
    std::string_view list, inside = "containerID", outside = "hostID", count = "size";
};
Result<proc::IdMap> id_map_in(const Json& object, const IdMapNames& names);

}  // namespace ferry::container
