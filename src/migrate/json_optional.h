// A figure that was not measured, in JSON: null, never 0. To be included before the types that have
// such figures are described to nlohmann/json.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

template <class T>
struct nlohmann::adl_serializer<std::optional<T>> {
    static void to_json(nlohmann::json& json, const std::optional<T>& value) {
        if (value) {
            json = *value;
        } else {
            json = nullptr;
        }
    }
    static void from_json(const nlohmann::json& json, std::optional<T>& value) {
        if (json.is_null()) {
            value.reset();
        } else {
            value = json.get<T>();
        }
    }
};
