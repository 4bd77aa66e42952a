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
constexpr int kWidth = 680, kHeight = 320;  // px; a PNG has twice as many

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

std::string bands_script(const Plot& plot) {
    std::string text;
    int number = 0;
    for (const Band& band : plot.bands) {
        const double least = kBandShareMin * (plot.x_to - plot.x_from);
        const double to = std::max(band.to, band.from + least);
        const bool strip = band.ink == Ink::Frozen;
        text += fmt::format(
            "set object {} rectangle from {:.6g}, graph {} to {:.6g}, graph 1 fc rgb '{}' "
            "fillstyle "
            "solid noborder {}\n",
            ++number, band.from, strip ? 1 - kStripShare : 0, to, light_colour(band.ink),
            strip ? "front" : "behind");
        if (!strip || to - band.from > kLineShare * (plot.x_to - plot.x_from)) continue;
        text += fmt::format(
            "set arrow {0} from {1:.6g}, graph 0 to {1:.6g}, graph 1 nohead lc rgb '{2}' lw 1.2 "
            "front\n",
            number, band.from, light_colour(band.ink));
    }
    for (const PlotMark& mark : plot.marks) {
        ++number;
        // Near the right end there is no room on that side.
        const bool left = mark.at > plot.x_from + 0.7 * (plot.x_to - plot.x_from);
        text += fmt::format(
            "set arrow {0} from {1:.6g}, graph 0 to {1:.6g}, graph 1 nohead lc rgb '{2}' dt (4,3) "
            "front\nset label {0} {3} at {1:.6g}, graph 0.9 {5} tc rgb '{4}' front\n",
            number, mark.at, kAxis.light, quoted(mark.label), kText.light,
            left ? "right offset -0.5,0" : "left offset 0.5,0");
    }
    if (plot.top_labels.empty()) return text;
    std::string tics;
    for (const PlotMark& label : plot.top_labels) {
        tics += fmt::format("{}{} {:.6g}", tics.empty() ? "" : ", ", quoted(label.label), label.at);
    }
    return text + fmt::format(
                      "set x2range [{:.6g}:{:.6g}]\nset x2tics ({}) scale 0 offset 0,-0.4 "
                      "textcolor rgb '{}'\n",
                      plot.x_from, plot.x_to, tics, kText.light);
}

std::string axes_script(const Plot& plot) {
    const std::string top = plot.y_to > 0 ? fmt::format("{:.6g}", plot.y_to * 1.08) : "*";
    return fmt::format(
        "reset\nset encoding utf8\n"
        "set border 3 lc rgb '{axis}' lw 1\n"
        "set tics nomirror out scale 0.5 textcolor rgb '{text}'\n"
        "set grid y lc rgb '{grid}' lw 1 lt 1\n"
        "set xlabel {x} tc rgb '{text}'\nset ylabel {y} tc rgb '{text}'\n"
        "set key outside top left horizontal Left reverse samplen 1.6 width -4 textcolor rgb "
        "'{text}'\n"
        // The same margins for all, so that plots below each other share their axis of time.
        "set lmargin 10\nset rmargin 3\nset tmargin 6\n"
        "set xrange [{from:.6g}:{to:.6g}]\n{scale}\n",
        fmt::arg("axis", kAxis.light), fmt::arg("text", kText.light), fmt::arg("grid", kGrid.light),
        fmt::arg("x", quoted(plot.x_label)), fmt::arg("y", quoted(plot.y_label)),
        fmt::arg("from", plot.x_from), fmt::arg("to", plot.x_to),
        fmt::arg("scale", plot.log_y
                              ? "set logscale y\nset format y '%g'\nset yrange [*:" + top + "]"
                              : "set yrange [0:" + top + "]"));
}

// The curves, then the key's entries of the bands (an entry is a plot of nothing).
std::string plot_command(const Plot& plot) {
    std::string text;
    for (std::size_t i = 0; i < plot.curves.size(); ++i) {
        const Curve& curve = plot.curves[i];
        const auto dash = std::min<std::size_t>(static_cast<std::size_t>(std::max(curve.dash, 0)),
                                                std::size(kDashes) - 1);
        text += fmt::format("{}$d{} using 1:2 with lines lc rgb '{}' lw 1.8 dt {} title {}",
                            text.empty() ? "plot " : ", ", i, light_colour(curve.ink),
                            kDashes[dash], quoted(curve.title));
    }
    std::set<std::string> named;
    for (const Band& band : plot.bands) {
        if (!named.insert(band.title).second) continue;
        text += fmt::format(", NaN with boxes fc rgb '{}' fillstyle solid noborder title {}",
                            light_colour(band.ink), quoted(band.title));
    }
    return text + "\n";
}

std::string script(const Plot& plot, const std::string& directory) {
    std::string text = axes_script(plot) + bands_script(plot);
    for (std::size_t i = 0; i < plot.curves.size(); ++i) text += data_block(plot.curves[i], i);
    const std::string path = directory + "/" + plot.name;
    text += fmt::format(
        "set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13' background '{}'\n"
        "set output {}\n{}",
        kWidth, kHeight, kPaper.light, quoted(path + ".svg"), plot_command(plot));
    text += fmt::format(
        "set terminal pngcairo size {},{} noenhanced font 'sans-serif,10' fontscale 2.4 linewidth "
        "2 "
        "background '{}'\nset output {}\n{}unset output\n",
        2 * kWidth, 2 * kHeight, kPaper.light, quoted(path + ".png"), plot_command(plot));
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
