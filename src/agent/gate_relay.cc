#include "agent/gate_relay.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "agent/group_words.h"
#include "base/log.h"
#include "os/endpoint.h"
#include "os/inet.h"
#include "os/socket.h"

namespace ferry::agent {

GateRelay::GateRelay(std::vector<os::UniqueFd> gates, Bring bring)
    : gates_(std::move(gates)), bring_(std::move(bring)) {
    thread_ = std::thread([this] { run(); });
}

GateRelay::~GateRelay() {
    close_all();
    thread_.join();
}

void GateRelay::run() {
    std::vector<pollfd> fds;
    for (const os::UniqueFd& gate : gates_) {
        fds.push_back({.fd = gate.get(), .events = POLLIN, .revents = 0});
    }
    while (std::ranges::any_of(fds, [](const pollfd& fd) { return fd.fd >= 0; })) {
        if (const auto ready = os::poll(fds, -1); !ready) log_error("{}", ready.error().message());
        for (std::size_t i = 0; i < fds.size(); ++i) {
            if (fds[i].revents == 0) continue;
            std::array<std::byte, words::kWordBytesMax> packet = {};
            const auto received = os::receive_with_fds(fds[i].fd, packet);
            const std::size_t bytes = received ? received->bytes : 0;
            if (bytes == 0) fds[i].fd = -1;
            bring_(i, {reinterpret_cast<const char*>(packet.data()), bytes});
        }
    }
}

void GateRelay::hear(std::size_t member, std::string_view word) {
    if (member >= gates_.size()) return;
    if (word.empty()) return close(gates_[member]);
    const auto sent = os::send_some(gates_[member].get(), std::as_bytes(std::span(word)));
    if (!sent) log_debug("telling a member {}: {}", word, sent.error().message());
}

void GateRelay::close_all() {
    for (const os::UniqueFd& gate : gates_) close(gate);
}

// Both ends find that out; the descriptor stays, since the thread may be at it.
void GateRelay::close(const os::UniqueFd& gate) {
    std::ignore = os::shutdown(gate.get(), SHUT_RDWR);
}

}  // namespace ferry::agent
