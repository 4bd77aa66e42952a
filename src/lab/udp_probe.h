// Datagrams to an echo service at a fixed rate, and what came back of them: the network as a client
// sees it, without a transport that repairs it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "lab/client_results.h"
#include "lab/world.h"
#include "os/fd.h"

namespace ferry::lab {

// Of the datagrams sent in [begin, end). `packets` in the order of sending. Pure.
UdpResult summarise(std::span<const UdpPacket> packets, Moment begin, Moment end);

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
    // Of the datagrams sent in a span that lies in the past; an echo that is still under way counts
    // as lost.
    UdpResult window(Moment begin, Moment end);
    // Sends no more, waits for the last echoes.
    UdpResult stop();

  private:
    explicit UdpProbe(UdpProbeOptions options) : options_(std::move(options)) {}
    void run();
    void send_next();
    void take_echoes();
    void note_echo(std::uint64_t number, Moment at);

    const UdpProbeOptions options_;
    std::uint64_t mark_ = 0;  // begins every datagram of this probe
    os::UniqueFd socket_;
    std::atomic<bool> stop_ = false;
    std::mutex mutex_;  // guards the two below
    std::vector<UdpPacket> packets_;
    std::uint64_t received_ = 0;  // of these
    std::thread thread_;
};

}  // namespace ferry::lab
