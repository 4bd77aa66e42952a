// A sampler on another machine (sample_lines.h) whose samples come over ssh and are kept here, on
// the run's clock: each at the moment it arrived, for the machines' clocks differ by more than a
// line takes. Costs one thread that waits for lines.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "lab/host.h"
#include "lab/run_record.h"

namespace ferry::lab {

class RemoteSampler {
  public:
    // `command` runs on the host, until its standard input ends. What comes belongs to `platform`.
    static Result<std::unique_ptr<RemoteSampler>> start(const Host& host,
                                                        std::vector<std::string> command,
                                                        int platform, const RunClock& clock);
    RemoteSampler(const RemoteSampler&) = delete;
    RemoteSampler& operator=(const RemoteSampler&) = delete;
    ~RemoteSampler();

    // The last value, if it is not older than this.
    [[nodiscard]] std::optional<double> latest(Quantity quantity, const std::string& subject,
                                               std::chrono::milliseconds age) const;
    // Ends it. Call it once.
    [[nodiscard]] std::vector<Series> stop();

  private:
    RemoteSampler(int platform, const RunClock& clock) : platform_(platform), clock_(clock) {}
    void run();
    void take(const std::string& text);
    void end();

    const int platform_;
    const RunClock clock_;
    os::ChildProcess child_;
    os::UniqueFd input_, output_;  // our ends of its streams
    mutable std::mutex mutex_;     // guards the one below
    std::map<std::pair<Quantity, std::string>, Series> series_;
    std::thread thread_;  // keep last: uses everything above
};

}  // namespace ferry::lab
