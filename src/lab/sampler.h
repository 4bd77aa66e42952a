// Looks at sources again and again beside a run and keeps what it saw as series on the run's clock.
// Costs one thread that sleeps between the intervals; an interval that was missed (a busy machine)
// is left out, so that samples never bunch up, and every sample carries the time it was taken at.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "lab/run_record.h"
#include "lab/sample_source.h"

namespace ferry::lab {

class Sampler {
  public:
    static constexpr std::chrono::milliseconds kInterval{100};

    // Gets each sample as it is taken, in the sampler's thread.
    using OnSample = std::function<void(const Gauge& gauge, double value)>;

    // Samples from now on.
    Sampler(const RunClock& clock, std::vector<SampleSource> sources,
            std::chrono::milliseconds interval = kInterval, OnSample on_sample = {});
    Sampler(const Sampler&) = delete;
    Sampler& operator=(const Sampler&) = delete;
    // Ends the thread.
    ~Sampler();

    // One more, from now on: a container that did not exist before. From any thread.
    void add(SampleSource source);
    // Takes a last sample and ends; gauges that never had a value leave no series. Call it once.
    [[nodiscard]] std::vector<Series> stop();

  private:
    struct Watched;
    void run();
    void take(Watched& watched);
    void keep(Watched& watched, std::size_t gauge, std::int64_t at, double value);
    void end();

    const RunClock clock_;
    const std::chrono::milliseconds interval_;
    const OnSample on_sample_;
    std::mutex mutex_;  // guards the two below
    bool stop_ = false;
    std::vector<Watched> watched_;
    std::condition_variable stopped_;
    std::thread thread_;  // keep last: uses everything above
};

}  // namespace ferry::lab
