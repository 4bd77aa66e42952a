// Plots of a report as values, and their drawing by gnuplot (docs/decisions): each becomes
// NAME.svg, readable on a light and on a dark screen, and NAME.png (light) for documents.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace ferry::lab {

// What a colour is for; each has a value for light and one for dark screens.
enum class Ink {
    Platform1,
    Platform2,
    First,  // curves that belong to no platform
    Second,
    Third,
    Fourth,
    PreCopy,  // phases
    Checkpoint,
    Transfer,
    Restore,
    Frozen
};

struct Curve {
    std::string title;
    Ink ink = Ink::First;
    int dash = 0;              // 0: solid; 1 to 3: other patterns
    std::vector<double> x, y;  // as many; a y that is no number is a gap
};

// A stretch of the x axis, in full height behind the curves; `Frozen` is a strip at the top.
struct Band {
    double from = 0, to = 0;
    Ink ink = Ink::PreCopy;
    std::string title;  // bands of one title have one entry in the key
};

// A vertical line with a short label at its top.
struct PlotMark {
    double at = 0;
    std::string label;
};

struct Plot {
    std::string name;              // of its files: letters, digits, '-'
    std::string title;             // for those who cannot see it, and as the picture's tooltip
    std::string x_label, y_label;  // with units
    double x_from = 0, x_to = 1;
    double y_to = 0;  // 0: by the curves; the axis begins at 0 unless it is logarithmic
    bool log_y = false;
    std::vector<Curve> curves;
    std::vector<Band> bands;
    std::vector<PlotMark> marks;
    std::vector<PlotMark> top_labels;  // words above the plot, without a line
};

// Draws all of them into `directory` (which is made) with one run of gnuplot. The texts of the SVG
// files, without XML's first line, to be put into HTML: their colours are those of light screens
// until plot_style() is in the document as well. Nothing in a text can become a command.
Result<std::vector<std::string>> draw(std::span<const Plot> plots, const std::string& directory);

// The CSS rules that give the colours of dark screens where the reader prefers those.
[[nodiscard]] std::string plot_style();
// "#rrggbb"
[[nodiscard]] const char* light_colour(Ink ink);
[[nodiscard]] const char* dark_colour(Ink ink);

}  // namespace ferry::lab
