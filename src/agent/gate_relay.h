// Carries the words of gates (agent/group_words.h) between a group and those of its members that
// are on the other host: the same at both, with the group at the other end of the gates or with the
// workers. A thread of its own listens to the gates. Thread-safe. Gates that are open at its end
// are closed.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "os/fd.h"

namespace ferry::agent {

class GateRelay {
  public:
    // Brings a word to the other host; the empty one says that this gate has been closed.
    using Bring = std::function<void(std::size_t member, std::string_view word)>;
    GateRelay(std::vector<os::UniqueFd> gates, Bring bring);
    GateRelay(const GateRelay&) = delete;
    GateRelay& operator=(const GateRelay&) = delete;
    ~GateRelay();

    // From there. An empty word closes the gate. Nothing where there is no such member.
    void hear(std::size_t member, std::string_view word);
    void close_all();

  private:
    void run();
    void close(const os::UniqueFd& gate);

    const std::vector<os::UniqueFd> gates_;
    const Bring bring_;
    std::thread thread_;
};

}  // namespace ferry::agent
