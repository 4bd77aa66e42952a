// One of those that a group moves together, as the group and the call that watches it see it: a
// session of this agent, or of the other host's (agent/far_sessions.h). Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "agent/session_info.h"

namespace ferry::agent {

class GroupMember {
  public:
    GroupMember() = default;
    GroupMember(const GroupMember&) = delete;
    GroupMember& operator=(const GroupMember&) = delete;
    virtual ~GroupMember() = default;

    [[nodiscard]] virtual SessionInfo info() const = 0;
    [[nodiscard]] virtual bool finished() const = 0;
    // Wishes for an end; whether it comes before the commit the outcome tells.
    virtual void abort() = 0;
    // Waits for something newer than `seen` (a counter that the caller keeps, at first 0) and
    // updates it; false after the timeout.
    virtual bool wait_news(std::uint64_t& seen, std::chrono::milliseconds timeout) = 0;
    // Of one that says nothing any more: why, once that is known, or after some seconds.
    virtual std::string why_ended() = 0;
};

}  // namespace ferry::agent
