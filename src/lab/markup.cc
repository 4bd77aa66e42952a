#include "lab/markup.h"

#include <fmt/format.h>

#include <cmath>

#include "lab/crossing.h"

namespace ferry::lab {
namespace {

std::string row_html(const std::vector<Cell>& row) {
    std::string html = "<tr>";
    for (const Cell& cell : row) {
        const bool heading = cell.kind == Cell::Kind::Heading;
        std::string css = cell.kind == Cell::Kind::Number ? "n" : "";
        if (!cell.css.empty()) css += (css.empty() ? "" : " ") + cell.css;
        html += heading ? "<th" : "<td";
        if (!css.empty()) html += fmt::format(" class=\"{}\"", css);
        if (cell.columns > 1) html += fmt::format(" colspan=\"{}\"", cell.columns);
        if (cell.rows > 1) html += fmt::format(" rowspan=\"{}\"", cell.rows);
        html += ">" + cell.html + (heading ? "</th>" : "</td>");
    }
    return html + "</tr>\n";
}

}  // namespace

std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&':
                result += "&amp;";
                break;
            case '<':
                result += "&lt;";
                break;
            case '>':
                result += "&gt;";
                break;
            case '"':
                result += "&quot;";
                break;
            case '\'':
                result += "&#39;";
                break;
            default:
                // XML knows no other control characters.
                result += static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t' ? ' ' : c;
        }
    }
    return result;
}

Cell text_cell(std::string_view text) {
    return {escaped(text), Cell::Kind::Text};
}
Cell number_cell(std::string_view text) {
    return {escaped(text), Cell::Kind::Number};
}
Cell heading_cell(std::string_view text, int columns, int rows) {
    return {escaped(text), Cell::Kind::Heading, columns, rows};
}
Cell dash_cell(std::string_view why) {
    return {fmt::format("<span class=\"dash\" title=\"{}\">\u2013</span>", escaped(why)),
            Cell::Kind::Number};
}

std::string table_html(const Table& table) {
    std::string html;
    // Not within the frame: it would be cut off on a narrow screen.
    if (!table.caption.empty()) html += paragraph(table.caption, "caption");
    html += "<div class=\"scroll\"><table";
    if (!table.caption.empty()) html += " aria-label=\"" + escaped(table.caption) + "\"";
    html += table.css.empty() ? ">" : " class=\"" + table.css + "\">";
    html += "<thead>";
    for (const auto& row : table.head) html += row_html(row);
    html += "</thead><tbody>";
    for (const auto& row : table.body) html += row_html(row);
    return html + "</tbody></table></div>\n";
}

std::string paragraph(std::string_view text, std::string_view css) {
    if (css.empty()) return fmt::format("<p>{}</p>\n", escaped(text));
    return fmt::format("<p class=\"{}\">{}</p>\n", css, escaped(text));
}

std::string duration_text(double milliseconds) {
    if (milliseconds < 9.95) return fmt::format("{:.1f} ms", milliseconds);
    if (milliseconds < 999.5) return fmt::format("{:.0f} ms", milliseconds);
    if (milliseconds < 9995) return fmt::format("{:.2f} s", milliseconds / 1000);
    return fmt::format("{:.1f} s", milliseconds / 1000);
}

std::string gigabytes_text(double bytes) {
    const double gigabytes = bytes / 1e9;
    return fmt::format("{:.{}f} GB", gigabytes, std::abs(gigabytes) < 0.0995 ? 3 : 2);
}

std::string bytes_text(double bytes) {
    if (bytes < 1000) return fmt::format("{:.0f} B", bytes);
    if (bytes < 999.5e3) return fmt::format("{:.1f} kB", bytes / 1e3);
    if (bytes < 999.5e6) return fmt::format("{:.1f} MB", bytes / 1e6);
    return fmt::format("{:.2f} GB", bytes / 1e9);
}

std::string count_text(std::uint64_t count) {
    return human_count(count);
}

std::string decimal_text(double value, int decimals) {
    return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace ferry::lab
