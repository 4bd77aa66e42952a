// Datagrams to an echo service at a fixed rate, and what came back of them: the network as a client
// sees it, without a transport that repairs it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "lab/client_results.h"
#include "lab/world.h"
#include "os/fd.h"

namespace ferry::lab {

// Counts what was sent and what came back. Not synchronised.
class EchoAccount {
  public:
    // Datagrams are numbered from 0 in the order of this call.
    void sent(Moment at);
    void echoed(std::uint64_t number, Moment at);
    void foreign() { ++result_.foreign; }
    [[nodiscard]] std::uint64_t next_number() const { return result_.packets.size(); }
    [[nodiscard]] std::uint64_t received() const { return result_.received; }
    [[nodiscard]] UdpResult result() const;

  private:
    UdpResult result_;
    double delay_sum_ms_ = 0, last_delay_ms_ = 0;
    std::uint64_t highest_ = 0;
    Moment last_echo_;
};

struct UdpProbeOptions {
    std::string ip;
    std::uint16_t port = 7;
    std::chrono::microseconds interval{10000};
    std::chrono::milliseconds patience{1000};  // for echoes, after the last was sent
};

// Threads: one of its own, inside the client host's network namespace.
class UdpProbe {
  public:
    // Runs when this returns; whether anything answers, the result says.
    static Result<std::unique_ptr<UdpProbe>> start(const Host& client,
                                                   const UdpProbeOptions& options);
    ~UdpProbe();
    // Sends no more, waits for the last echoes.
    UdpResult stop();
    // For a progress display.
    [[nodiscard]] std::uint64_t received() const { return received_; }

  private:
    explicit UdpProbe(UdpProbeOptions options) : options_(std::move(options)) {}
    void run();
    void send_next();
    void take_echoes();

    const UdpProbeOptions options_;
    std::uint64_t mark_ = 0;  // begins every datagram of this probe
    os::UniqueFd socket_;
    EchoAccount account_;
    std::atomic<std::uint64_t> received_ = 0;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

}  // namespace ferry::lab
