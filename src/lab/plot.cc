#include "lab/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <regex>
#include <set>

#include "base/check.h"
#include "lab/command.h"
#include "lab/markup.h"
#include "lab/report_file.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

constexpr std::chrono::minutes kTimeout{5};
// Pixels of an SVG; a PNG has twice as many. The plot itself has always the same place and size, so
// that plots below each other share their axis of time; the key above it has as many rows as it
// takes.
constexpr double kWidth = 680, kPlotHeight = 190;
constexpr double kLeft = 72, kRight = 22, kAxisLabel = 14, kTop = 12, kTopLabels = 22, kBottom = 60;
constexpr double kKeyRow = 19, kKeySample = 28, kKeyGap = 18;
// Of the widest font that "sans-serif" may turn out to be, at 13 px.
constexpr double kCharacter = 7.4;

struct Colour {
    const char* light;
    const char* dark;
};

// By Ink. Blue against orange, and always with another dash or word beside the colour.
constexpr Colour kInks[] = {{"#0067b1", "#5ab0f5"}, {"#c8500a", "#f59a5c"}, {"#1b7f4d", "#55c98d"},
                            {"#7b3fa0", "#c493e6"}, {"#8a6d00", "#d9b93b"}, {"#b0256e", "#f07ab4"},
                            {"#dceafb", "#1d3450"}, {"#fde8ba", "#4d3c10"}, {"#e6dcf6", "#3a2b57"},
                            {"#d3eedc", "#1a422b"}, {"#d3312b", "#ff6b63"}};
constexpr Colour kPaper = {"#ffffff", "#171b20"};
constexpr Colour kText = {"#2a3036", "#d5dade"};
constexpr Colour kAxis = {"#8a8f98", "#7d8791"};
constexpr Colour kGrid = {"#e4e7ea", "#2b3138"};
constexpr const char* kDashes[] = {"solid", "(9,4)", "(2,3)", "(10,3,2,3)"};
// Narrower ones are drawn this wide, as a share of the axis: a freeze of some milliseconds must be
// seen on an axis of a minute.
constexpr double kBandShareMin = 0.003;
constexpr double kStripShare = 0.05;  // height of the strip of a freeze
// A freeze narrower than this is a line as well.
constexpr double kLineShare = 0.01;

const Colour& colour_of(Ink ink) {
    const auto index = static_cast<std::size_t>(ink);
    CHECK(index < std::size(kInks));
    return kInks[index];
}

// A string of gnuplot: nothing is special between single quotes but the quote itself.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text) {
        if (c == '\'') result += '\'';
        result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    return result + "'";
}

// Gaps are empty lines.
std::string data_block(const Curve& curve, std::size_t number) {
    std::string text = fmt::format("$d{} << EOD\n", number);
    for (std::size_t i = 0; i < curve.x.size() && i < curve.y.size(); ++i) {
        if (std::isfinite(curve.y[i])) {
            text += fmt::format("{:.6g} {:.6g}\n", curve.x[i], curve.y[i]);
        } else {
            text += "\n";
        }
    }
    return text + "EOD\n";
}

// An entry of the key and where its sample begins.
struct KeyEntry {
    std::string title;
    Ink ink;
    int dash = 0;
    bool is_band = false;
    double x = 0;
    int row = 0;
};

// What a reader sees as one character; the bytes that continue one in UTF-8 do not count.
double text_width(const std::string& text) {
    const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u;
    });
    return kCharacter * static_cast<double>(characters);
}

// Curves, then each kind of band once, row by row like words. gnuplot's own key has columns, which
// overlap where titles are short and eat the plot where they are long.
std::vector<KeyEntry> layout_key(const Plot& plot) {
    std::vector<KeyEntry> entries;
    for (const Curve& curve : plot.curves) {
        entries.push_back({curve.title, curve.ink, curve.dash});
    }
    std::set<std::string> named;
    for (const Band& band : plot.bands) {
        if (named.insert(band.title).second) entries.push_back({band.title, band.ink, 0, true});
    }
    double x = kLeft;
    int row = 0;
    for (KeyEntry& entry : entries) {
        const double width = kKeySample + text_width(entry.title);
        if (x > kLeft && x + width > kWidth - kRight) {
            x = kLeft;
            ++row;
        }
        entry.x = x;
        entry.row = row;
        x += width + kKeyGap;
    }
    return entries;
}

double key_height(const std::vector<KeyEntry>& key) {
    return key.empty() ? 0 : kKeyRow * (key.back().row + 1);
}
double height_of(const std::vector<KeyEntry>& key) {
    return kTop + key_height(key) + kTopLabels + kPlotHeight + kBottom;
}

const char* dash_of(int dash) {
    const auto last = static_cast<int>(std::size(kDashes)) - 1;
    return kDashes[std::clamp(dash, 0, last)];
}

// Numbers the arrows, labels and rectangles of one plot.
class Decorations {
  public:
    explicit Decorations(const Plot& plot) : plot_(plot) {}

    std::string script(const std::vector<KeyEntry>& key) {
        std::string text;
        for (const Band& band : plot_.bands) text += draw_band(band);
        for (const PlotMark& mark : plot_.marks) text += draw_mark(mark);
        for (const KeyEntry& entry : key) text += draw_key(entry, height_of(key));
        return text;
    }

  private:
    std::string draw_band(const Band& band) {
        const double range = plot_.x_to - plot_.x_from;
        const double to = std::max(band.to, band.from + kBandShareMin * range);
        const bool strip = band.ink == Ink::Frozen;
        std::string text = fmt::format(
            "set object {} rectangle from {:.6g}, graph {} to {:.6g}, graph 1 fc rgb '{}' "
            "fillstyle "
            "solid noborder {}\n",
            ++number_, band.from, strip ? 1 - kStripShare : 0, to, light_colour(band.ink),
            strip ? "front" : "behind");
        if (strip && to - band.from <= kLineShare * range) {
            text += line(band.from, fmt::format("lc rgb '{}' lw 1.2", light_colour(band.ink)));
        }
        return text;
    }

    std::string draw_mark(const PlotMark& mark) {
        // To the left where there is no room on the right.
        const double share = (mark.at - plot_.x_from) / (plot_.x_to - plot_.x_from);
        const double room = (kWidth - kLeft - kRight) * (1 - share);
        const bool left = share > 0.5 && text_width(mark.label) > room;
        const std::string drawn = line(mark.at, fmt::format("lc rgb '{}' dt (4,3)", kAxis.light));
        return drawn + fmt::format("set label {} {} at {:.6g}, graph 0.88 {} tc rgb '{}' front\n",
                                   number_, quoted(mark.label), mark.at,
                                   left ? "right offset -0.5,0" : "left offset 0.5,0", kText.light);
    }

    std::string line(double at, const std::string& look) {
        return fmt::format(
            "set arrow {0} from {1:.6g}, graph 0 to {1:.6g}, graph 1 nohead {2} front\n", ++number_,
            at, look);
    }

    // Widths differ a little by dash: between two lines of the same width and colour gnuplot's SVG
    // keeps the first one's dash (5.4).
    std::string draw_key(const KeyEntry& entry, double height) {
        ++number_;
        const double y = 1 - (kTop + kKeyRow * (entry.row + 0.5)) / height;
        const double from = entry.x / kWidth, to = (entry.x + kKeySample - 7) / kWidth;
        const double half = 5 / height;
        const std::string sample =
            entry.is_band
                ? fmt::format(
                      "set object {} rectangle from screen {:.5f}, screen {:.5f} to screen "
                      "{:.5f}, screen {:.5f} fc rgb '{}' fillstyle solid noborder front\n",
                      number_, from, y - half, to, y + half, light_colour(entry.ink))
                : fmt::format(
                      "set arrow {0} from screen {1:.5f}, screen {2:.5f} to screen {3:.5f}, "
                      "screen {2:.5f} nohead lc rgb '{4}' lw {6:.2f} dt {5} front\n",
                      number_, from, y, to, light_colour(entry.ink), dash_of(entry.dash),
                      1.8 + 0.01 * entry.dash);
        return sample + fmt::format(
                            "set label {} {} at screen {:.5f}, screen {:.5f} left tc rgb "
                            "'{}' front\n",
                            number_, quoted(entry.title), (entry.x + kKeySample) / kWidth, y,
                            kText.light);
    }

    const Plot& plot_;
    int number_ = 1;  // 1 is the label of the y axis
};

// Words above the plot are tics of the upper axis.
std::string top_script(const Plot& plot) {
    if (plot.top_labels.empty()) return "";
    std::string tics;
    for (const PlotMark& label : plot.top_labels) {
        tics += fmt::format("{}{} {:.6g}", tics.empty() ? "" : ", ", quoted(label.label), label.at);
    }
    return fmt::format(
        "set x2range [{:.6g}:{:.6g}]\nset x2tics ({}) scale 0 offset 0,-0.4 textcolor rgb '{}'\n",
        plot.x_from, plot.x_to, tics, kText.light);
}

// And the y axis's label, which gnuplot would push over the edge where numbers are long.
std::string margins_script(const Plot& plot, double height) {
    return fmt::format(
               "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\n"
               "set bmargin at screen {:.5f}\nset tmargin at screen {:.5f}\n",
               kLeft / kWidth, 1 - kRight / kWidth, kBottom / height,
               (kBottom + kPlotHeight) / height) +
           fmt::format(
               "set label 1 {} at screen {:.5f}, screen {:.5f} center rotate by 90 tc rgb "
               "'{}'\n",
               quoted(plot.y_label), kAxisLabel / kWidth, (kBottom + kPlotHeight / 2) / height,
               kText.light);
}

std::string axes_script(const Plot& plot) {
    const std::string top =
        plot.y_to > 0 ? fmt::format("{:.6g}", plot.y_to * (plot.log_y ? 1.6 : 1.08)) : "*";
    return fmt::format(
        "reset\nset encoding utf8\n"
        "set border 3 lc rgb '{axis}' lw 1\n"
        "set tics nomirror out scale 0.5 textcolor rgb '{text}'\n"
        "set grid y lc rgb '{grid}' lw 1 lt 1\n"
        "set xlabel {x} offset 0,0.3 tc rgb '{text}'\n"
        "unset key\n"
        "set xrange [{from:.6g}:{to:.6g}]\n{scale}\n",
        fmt::arg("axis", kAxis.light), fmt::arg("text", kText.light), fmt::arg("grid", kGrid.light),
        fmt::arg("x", quoted(plot.x_label)), fmt::arg("from", plot.x_from),
        fmt::arg("to", plot.x_to),
        fmt::arg("scale", plot.log_y
                              ? "set logscale y\nset format y '%g'\nset yrange [*:" + top + "]"
                              : "set yrange [0:" + top + "]"));
}

std::string plot_command(const Plot& plot) {
    std::string text;
    for (std::size_t i = 0; i < plot.curves.size(); ++i) {
        const Curve& curve = plot.curves[i];
        text += fmt::format("{}$d{} using 1:2 with lines lc rgb '{}' lw 1.8 dt {}",
                            text.empty() ? "plot " : ", ", i, light_colour(curve.ink),
                            dash_of(curve.dash));
    }
    return text + "\n";
}

std::string script(const Plot& plot, const std::string& directory) {
    const std::vector<KeyEntry> key = layout_key(plot);
    const double height = height_of(key);
    std::string text = axes_script(plot) + margins_script(plot, height) + top_script(plot) +
                       Decorations(plot).script(key);
    for (std::size_t i = 0; i < plot.curves.size(); ++i) text += data_block(plot.curves[i], i);
    const std::string path = directory + "/" + plot.name;
    text += fmt::format(
        "set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13' background '{}'\n"
        "set output {}\n{}",
        kWidth, height, kPaper.light, quoted(path + ".svg"), plot_command(plot));
    text += fmt::format(
        "set terminal pngcairo size {},{} noenhanced font 'sans-serif,10' fontscale 2.0 linewidth "
        "2 "
        "background '{}'\nset output {}\n{}unset output\n",
        2 * kWidth, 2 * height, kPaper.light, quoted(path + ".png"), plot_command(plot));
    return text;
}

// gnuplot's SVG made fit for a document with others: no ids, no definitions that are not used, a
// title, and colours in one spelling, by which style sheets find them.
std::string tidied(std::string svg, const std::string& title) {
    const std::size_t begin = svg.find("<svg");
    svg.erase(0, begin == std::string::npos ? 0 : begin);
    const auto cut = [&](const char* from, const char* to, const std::string& instead) {
        const std::size_t start = svg.find(from);
        const std::size_t end = svg.find(to, start);
        if (start == std::string::npos || end == std::string::npos) return;
        svg.replace(start, end + std::string_view(to).size() - start, instead);
    };
    cut("<title>", "</title>", "");
    cut("<desc>", "</desc>", fmt::format("<title>{}</title>", escaped(title)));
    cut("<defs>", "</defs>", "");
    svg = std::regex_replace(svg, std::regex(R"( id="[^"]*")"), "");
    svg.insert(4, " role=\"img\"");
    static const std::regex rgb(R"(rgb\( *(\d{1,3}), *(\d{1,3}), *(\d{1,3})\))");
    std::string result;
    auto rest = svg.cbegin();
    for (std::smatch found; std::regex_search(rest, svg.cend(), found, rgb);) {
        result.append(rest, found[0].first);
        const auto part = [&](std::size_t i) { return std::stoi(found[i].str()) & 0xff; };
        result += fmt::format("#{:02x}{:02x}{:02x}", part(1), part(2), part(3));
        rest = found[0].second;
    }
    return result.append(rest, svg.cend());
}

}  // namespace

const char* light_colour(Ink ink) {
    return colour_of(ink).light;
}
const char* dark_colour(Ink ink) {
    return colour_of(ink).dark;
}

std::string plot_style() {
    std::string rules;
    const auto add = [&](const Colour& colour) {
        rules += fmt::format("[fill=\"{0}\"]{{fill:{1}}}[stroke=\"{0}\"]{{stroke:{1}}}",
                             colour.light, colour.dark);
    };
    for (const Colour& colour : kInks) add(colour);
    for (const Colour& colour : {kPaper, kText, kAxis, kGrid}) add(colour);
    return "@media screen and (prefers-color-scheme:dark){" + rules + "}";
}

Result<std::vector<std::string>> draw(std::span<const Plot> plots, const std::string& directory) {
    // gnuplot runs elsewhere.
    std::error_code error;
    const std::string absolute = std::filesystem::absolute(directory, error).string();
    std::filesystem::create_directories(absolute, error);
    if (error) return fail(Error::system(error.value(), "mkdir " + absolute));
    std::string commands;
    for (const Plot& plot : plots) commands += script(plot, absolute);
    os::Launch launch;
    launch.arguments = {"gnuplot", "-"};
    TRY(with_context(run_checked(std::move(launch), kTimeout, commands),
                     "drawing plots (Debian package gnuplot-nox)"));
    std::vector<std::string> drawn;
    for (const Plot& plot : plots) {
        const std::string path = fmt::format("{}/{}.svg", absolute, plot.name);
        const std::string svg = tidied(TRY(os::read_file(path)), plot.title);
        // A file stands alone: it brings its own style.
        const std::size_t body = svg.find('>') + 1;
        TRY(write_text(path, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" + svg.substr(0, body) +
                                 "<style>" + plot_style() + "</style>" + svg.substr(body)));
        drawn.push_back(svg);
    }
    return drawn;
}

}  // namespace ferry::lab
