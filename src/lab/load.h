// The clients of the demo and of the tests: an open-loop writer (a fixed number of writes per
// second to random keys, whether replies come or not) and closed-loop probes (one request at a
// time, reading back what they wrote). Connections stay open from start to end; one that breaks
// fails the load. Every acknowledged write is remembered and looked for at the end.
//
// Threads: the public functions belong to the thread that made the object; it runs one thread for
// the writer and one for each probe, inside the client host's network namespace.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "lab/latency.h"
#include "lab/redis_connection.h"
#include "lab/world.h"

namespace ferry::lab {

struct LoadOptions {
    RedisAddress address;
    std::uint64_t keys = 0;  // filled before the load starts; values of kValueBytes
    double writes_per_second = 5000;
    int writer_connections = 4;
    int probe_connections = 1;
    std::chrono::microseconds probe_pause{200};  // between a probe's reply and its next request
    std::uint64_t seed = 1;
};

// What clients saw since the window before.
struct LoadWindow {
    double seconds = 0;
    std::uint64_t writes_acknowledged = 0;
    LatencyHistogram writes;  // from the moment a write was due to its reply
    LatencyHistogram probes;  // from one reply of a probe to the next, less its own pause
    std::vector<double> longest_pause_ms;  // per connection, writers first

    [[nodiscard]] double longest_pause() const;
};

struct Verification {
    std::uint64_t keys_checked = 0;
    std::uint64_t writes_acknowledged = 0;
    std::uint64_t lost = 0;          // keys whose value is older than the last acknowledged write
    std::uint64_t foreign = 0;       // keys that are absent, or whose bytes nobody wrote
    std::uint64_t probe_errors = 0;  // a probe did not read back what it wrote
    [[nodiscard]] bool good() const { return lost == 0 && foreign == 0 && probe_errors == 0; }
};

class Load {
  public:
    // Writes version 0 of every key, pipelined; reports progress as a share of 1 if asked to.
    static Result<> fill(const Host& client, const RedisAddress& address, std::uint64_t keys,
                         const std::function<void(double)>& progress = {});
    // Connects; the load runs when this returns. The keys must have been filled.
    static Result<std::unique_ptr<Load>> start(const Host& client, const LoadOptions& options);
    // Stops the threads.
    ~Load();

    // Why a connection broke, if one did.
    [[nodiscard]] std::optional<std::string> failure();
    // Statistics since the start or the last call of this.
    LoadWindow take_window();
    // The totals of the running window, for a progress display.
    [[nodiscard]] std::uint64_t writes_acknowledged() const { return acknowledged_.load(); }

    // Ends the load: every write that was sent is waited for. An error if a connection had broken
    // or a reply stays out for 30 s.
    Result<> stop();
    // After stop(): reads every key back over one of the connections the load ran on.
    Result<Verification> verify();

  private:
    struct Writer;
    struct Connection;
    explicit Load(LoadOptions options);
    Result<> connect(const Host& client);
    void run_writer();
    Result<> write_until_stopped();
    Result<> take_replies(Connection& connection);
    void run_probe(std::size_t index);
    Result<> probe_until_stopped(std::size_t index);
    void record(std::size_t connection, bool is_write, std::chrono::nanoseconds latency);
    void set_failure(const Error& error);
    void join();

    const LoadOptions options_;
    std::vector<std::unique_ptr<Connection>> writers_;
    std::vector<std::unique_ptr<Connection>> probes_;
    std::vector<std::uint32_t> sent_, acknowledged_versions_;  // per key; of the writer's thread
    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> acknowledged_ = 0;
    std::atomic<std::uint64_t> probe_errors_ = 0;
    std::mutex mutex_;  // guards the two below
    std::optional<std::string> failure_;
    LoadWindow window_;
    std::chrono::steady_clock::time_point window_start_;
    std::uint64_t acknowledged_before_window_ = 0;
    // Keep last: they use everything above.
    std::vector<std::thread> threads_;
};

}  // namespace ferry::lab
