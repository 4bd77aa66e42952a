#include "lab/paper.h"

namespace ferry::lab {
namespace {

// The notes write the last times with a decimal comma ("3,939"); they are seconds.
constexpr PaperFigure kFigures[] = {
    {"1", 1, PhaseKind::Checkpoint, 1.69, 1.56, std::nullopt},
    {"1", 2, PhaseKind::Restore, 1.86, 2.28, std::nullopt},
    {"3", 1, PhaseKind::Checkpoint, 2.09, 1.99, 0.994},
    {"3", 1, PhaseKind::Restore, 1.97, 2.70, 44.8},
    {"3", 2, PhaseKind::Checkpoint, 2.62, 2.34, 1.037},
    {"3", 2, PhaseKind::Restore, 2.34, 2.76, 18.111},
    {"4", 1, PhaseKind::Checkpoint, 3.63, 3.27, 3.939},
    {"4", 1, PhaseKind::Restore, 3.27, 3.61, 59.584},
    {"4", 2, PhaseKind::Checkpoint, 4.12, 3.78, 1.831},
    {"4", 2, PhaseKind::Restore, 3.76, 4.22, 59.902},
};

constexpr ScenarioText kScenarios[] = {
    {"1", "I", "one service, from platform 1 to platform 2"},
    {"2", "II", "one service, from platform 2 to platform 1"},
    {"3", "III", "one service, both ways"},
    {"4", "IV", "three services in three containers, both ways"},
    {"dirty", "dirty", "memory is written faster than the link carries it"},
};

}  // namespace

std::span<const PaperFigure> paper_figures() {
    return kFigures;
}

const PaperFigure* paper_figure(std::string_view scenario, int platform, PhaseKind phase) {
    for (const PaperFigure& figure : kFigures) {
        if (figure.scenario == scenario && figure.platform == platform && figure.phase == phase) {
            return &figure;
        }
    }
    return nullptr;
}

std::span<const ScenarioText> scenario_texts() {
    return kScenarios;
}

}  // namespace ferry::lab
