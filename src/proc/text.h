// Small pure helpers to read procfs text: fields, lines, numbers. Nothing here allocates more than
// the text it is given.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ferry::proc {

// The text up to the first `delimiter`, which is removed from `rest` together with it. All of
// `rest` if there is none.
[[nodiscard]] inline std::string_view take_until(std::string_view& rest, char delimiter) {
    const auto end = rest.find(delimiter);
    const std::string_view taken = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return taken;
}

[[nodiscard]] inline std::string_view skip_blanks(std::string_view text) {
    const auto start = text.find_first_not_of(" \t");
    return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

// The next word of a line whose words are separated by blanks; empty at its end.
[[nodiscard]] inline std::string_view take_word(std::string_view& rest) {
    rest = skip_blanks(rest);
    const auto end = rest.find_first_of(" \t\n");
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(word.size());
    return word;
}

// The whole of `text` as a number, or nothing.
template <class T>
[[nodiscard]] std::optional<T> to_number(std::string_view text, int base = 10) {
    T value{};
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace ferry::proc
