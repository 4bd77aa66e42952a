// HTML of the report, in pieces: text that is escaped, tables, figures with units. No knowledge of
// what is reported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ferry::lab {

// For HTML and XML, in texts and in attributes.
[[nodiscard]] std::string escaped(std::string_view text);

struct Cell {
    enum class Kind { Text, Number, Heading };
    std::string html;  // escaped already
    Kind kind = Kind::Text;
    int columns = 1, rows = 1;  // how many it spans
    std::string css = {};       // a class, besides that of its kind
};
[[nodiscard]] Cell text_cell(std::string_view text);
[[nodiscard]] Cell number_cell(std::string_view text);
[[nodiscard]] Cell heading_cell(std::string_view text, int columns = 1, int rows = 1);
// A figure that is not there: a dash, with the reason for who points at it.
[[nodiscard]] Cell dash_cell(std::string_view why);

struct Table {
    std::string caption = {};
    std::vector<std::vector<Cell>> head = {}, body = {};
    std::string css = {};
};
// In a frame that scrolls by itself where the screen is too narrow.
[[nodiscard]] std::string table_html(const Table& table);
[[nodiscard]] std::string paragraph(std::string_view text, std::string_view css = {});

// "4.3 ms", "48 ms", "1.32 s", "44.8 s"
[[nodiscard]] std::string duration_text(double milliseconds);
// Bytes as "0.28 GB" (10^9, as the paper writes them); three digits below 0.1.
[[nodiscard]] std::string gigabytes_text(double bytes);
// "1.5 kB", "12.3 MB", "1.20 GB" (powers of 1000, for what crosses networks)
[[nodiscard]] std::string bytes_text(double bytes);
// "1,234,567"; or with decimals "12.5"
[[nodiscard]] std::string count_text(std::uint64_t count);
[[nodiscard]] std::string decimal_text(double value, int decimals);

}  // namespace ferry::lab
