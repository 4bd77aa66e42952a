#include "lab/sampler.h"

#include <algorithm>
#include <optional>

namespace ferry::lab {

struct Sampler::Watched {
    SampleSource source;
    std::vector<Series> series;               // one for each gauge
    std::vector<std::optional<double>> last;  // of counters: the value at ...
    std::int64_t last_ns = 0;                 // ... this time
    int due_in = 0;                           // intervals

    explicit Watched(SampleSource from) : source(std::move(from)) {
        for (const Gauge& gauge : source.gauges) {
            series.push_back({gauge.quantity, gauge.platform, gauge.subject, {}, {}});
        }
        last.resize(series.size());
    }
};

Sampler::Sampler(const RunClock& clock, std::vector<SampleSource> sources,
                 std::chrono::milliseconds interval, OnSample on_sample)
    : clock_(clock), interval_(interval), on_sample_(std::move(on_sample)) {
    for (SampleSource& source : sources) watched_.emplace_back(std::move(source));
    thread_ = std::thread([this] { run(); });
}

Sampler::~Sampler() {
    end();
}

void Sampler::add(SampleSource source) {
    const std::lock_guard lock(mutex_);
    watched_.emplace_back(std::move(source));
}

void Sampler::keep(Watched& watched, std::size_t gauge, std::int64_t at, double value) {
    watched.series[gauge].add(at, value);
    if (on_sample_) on_sample_(watched.source.gauges[gauge], value);
}

void Sampler::take(Watched& watched) {
    const std::vector<std::optional<double>> values = watched.source.read();
    // After the read: a counter has its value by now, and the next one cannot be earlier.
    const std::int64_t now = clock_.now_ns();
    const double seconds = static_cast<double>(now - watched.last_ns) / 1e9;
    for (std::size_t i = 0; i < watched.series.size() && i < values.size(); ++i) {
        const bool counter = watched.source.gauges[i].kind == Gauge::Kind::Counter;
        if (!counter && values[i]) keep(watched, i, now, *values[i]);
        // A counter that went back was reset (another device of that name): no rate across that.
        const bool grows = counter && values[i] && watched.last[i] && seconds > 0 &&
                           *values[i] >= *watched.last[i];
        if (grows) keep(watched, i, now, (*values[i] - *watched.last[i]) / seconds);
        watched.last[i] = values[i];
    }
    watched.last_ns = now;
}

void Sampler::run() {
    auto due = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    while (!stop_) {
        for (Watched& watched : watched_) {
            if (watched.due_in-- > 0) continue;
            watched.due_in = watched.source.every - 1;
            take(watched);
        }
        due = std::max(due + interval_, std::chrono::steady_clock::now());
        stopped_.wait_until(lock, due, [this] { return stop_; });
    }
}

void Sampler::end() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    stopped_.notify_all();
    thread_.join();
}

std::vector<Series> Sampler::stop() {
    end();
    std::vector<Series> all;
    for (Watched& watched : watched_) {
        // A rate over a much shorter time than the others would be noise.
        if (clock_.now_ns() - watched.last_ns > std::chrono::nanoseconds(interval_).count() / 2) {
            take(watched);
        }
        for (Series& series : watched.series) {
            if (!series.values.empty()) all.push_back(std::move(series));
        }
    }
    watched_.clear();
    return all;
}

}  // namespace ferry::lab
