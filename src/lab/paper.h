// The figures that Ferry's lab is measured against: those of the paper (A. Widjajarto, D. W. Jacob,
// M. Lubis, "Live migration using checkpoint and restore in userspace (CRIU): usage analysis of
// network, memory and CPU", Bulletin of Electrical Engineering and Informatics 10(2), 2021), as far
// as the notes on it that the project has give them. Nothing here was measured by Ferry, and what
// the notes leave out is absent.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "lab/run_record.h"

namespace ferry::lab {

struct PaperFigure {
    std::string_view scenario;  // as in RunRecord
    int platform;
    PhaseKind phase;
    double memory_before_gb, memory_after_gb;  // of the host
    std::optional<double> seconds;
};
[[nodiscard]] std::span<const PaperFigure> paper_figures();
[[nodiscard]] const PaperFigure* paper_figure(std::string_view scenario, int platform,
                                              PhaseKind phase);

struct ScenarioText {
    std::string_view scenario, numeral, title;
};
// "1" to "4" and "dirty", in this order.
[[nodiscard]] std::span<const ScenarioText> scenario_texts();

}  // namespace ferry::lab
