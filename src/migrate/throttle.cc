#include "migrate/throttle.h"

#include <algorithm>

#include "base/log.h"

namespace ferry::migrate {
namespace {

// QEMU's limits (x-cpu-throttle-initial, max-cpu-throttle), tried there for years.
constexpr double kShareMin = 0.2;
constexpr double kShareMax = 0.99;
// Of the link, that the slowed tree may fill: the rest shrinks what is left.
constexpr double kLinkShare = 0.5;
// A stop or a run shorter than this is mostly overhead.
constexpr std::chrono::milliseconds kSlice{10};

}  // namespace

bool Throttle::can_be_tightened() const {
    return share_ < kShareMax;
}

bool Throttle::tighten(double dirty_rate, double bandwidth) {
    if (!can_be_tightened()) return false;
    const double running = share_ > 0
                               ? (1 - share_) / 2
                               : kLinkShare * (dirty_rate > 0 ? bandwidth / dirty_rate : 1.0);
    share_ = std::clamp(1 - running, kShareMin, kShareMax);
    owed_ = {};
    return true;
}

void Throttle::begin() {
    begun_ = share_ > 0;
    since_ = Clock::now();
}

Result<> Throttle::end() {
    begun_ = false;
    return let_run();
}

Result<> Throttle::step() {
    if (!begun_) return {};
    const Clock::time_point now = Clock::now();
    const double spent = std::chrono::duration<double>(now - since_).count();
    if (now - since_ < kSlice) return {};
    // What running earns it pays for with standing still: share / (1 - share) of it.
    const double price = share_ / (1 - share_);
    const auto seconds = [](double value) {
        return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
    };
    if (frozen_) {
        if (seconds(spent) < owed_) return {};
        owed_ -= seconds(spent);
        return let_run();
    }
    owed_ += seconds(spent * price);
    since_ = now;
    auto frozen = tree_.freeze();
    // It is in a state that cannot be stopped now; the next slice will do.
    if (!frozen && frozen.error().kind() == Error::Kind::Unsupported) return {};
    frozen_ = TRY(std::move(frozen));
    since_ = Clock::now();
    return {};
}

Result<> Throttle::let_run() {
    if (!frozen_) return {};
    const Result<> thawed = std::move(*frozen_).thaw();
    frozen_.reset();
    since_ = Clock::now();
    return thawed;
}

}  // namespace ferry::migrate
