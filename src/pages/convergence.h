// When to stop pre-copying and freeze. A pure function of what was measured: no clock, no I/O.
//
// Expected downtime = fixed cost of freeze and activation + bytes still dirty / bandwidth.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace ferry::pages {

using Seconds = std::chrono::duration<double>;

struct ConvergenceLimits {
    Seconds max_downtime{0.050};  // --max-downtime
    unsigned max_rounds = 30;
    // Once everything fits, go on while the memory part of the freeze is above this and rounds
    // still shrink it or have just grown it: they are short by then, and each spares the service
    // milliseconds.
    Seconds memory_part_worth_a_round{0.003};
    // ... but at most this many rounds more.
    unsigned max_extra_rounds = 8;
};

// What one round of pre-copy did, measured at its end.
struct RoundMeasure {
    std::uint64_t bytes_sent = 0;   // by this round
    Seconds duration{0};            // of this round
    std::uint64_t bytes_dirty = 0;  // that the scan at its end found: what is left to send
    Seconds fixed_cost{0};          // best estimate of freeze + activation without any memory
};

enum class Rule {
    NotYet,          // continue: too much is dirty, and another round shrinks it
    WorthARound,     // continue: it fits, but a short round shortens the freeze further
    FitsDowntime,    // stop: what is left fits --max-downtime
    CleanNow,        // stop: nothing is dirty
    FixedCostAlone,  // stop: the fixed cost exceeds --max-downtime and memory hardly adds to it
    NotShrinking,    // stop: another round would not help, what is dirty no longer shrinks
    RoundLimit,      // stop: max_rounds
};
// "fits max-downtime", "dirty pages no longer shrink", ... for the user.
[[nodiscard]] std::string_view describe(Rule rule);

struct Decision {
    bool stop = false;
    Rule rule = Rule::NotYet;
    bool fits = false;  // the expectation fits --max-downtime
    Seconds expected_downtime{0};
    double bandwidth = 0;  // bytes per second, as used for the expectation
};

// One tree's pre-copy: feed it every round in order.
class Convergence {
  public:
    // Whether a round says more about bandwidth than about latencies.
    [[nodiscard]] static bool measures_bandwidth(const RoundMeasure& round);
    explicit Convergence(ConvergenceLimits limits) : limits_(limits) {}
    // bandwidth_hint: bytes per second from elsewhere, used while no round was long enough to
    // measure one.
    [[nodiscard]] Decision after_round(const RoundMeasure& round, double bandwidth_hint = 0);
    // The same with a bandwidth that has been measured elsewhere; the round's duration is not used.
    [[nodiscard]] Decision after_round_at(double bandwidth, const RoundMeasure& round);
    [[nodiscard]] unsigned rounds() const { return rounds_; }
    // The tree has been slowed down: what did not shrink may shrink now.
    void look_again() { stalled_ = 0; }

  private:
    ConvergenceLimits limits_;
    unsigned rounds_ = 0;
    std::uint64_t lowest_dirty_ = 0;
    unsigned stalled_ = 0;  // rounds since one left clearly less than all before it
    double bandwidth_ = 0;
    unsigned extra_rounds_ = 0;
};

}  // namespace ferry::pages
