// When a group is to be frozen. Its members send over one link, in the rounds and in the freeze, so
// none of them can tell alone: what all of them have left goes through what the link carries for
// all of them together.
//
// A pure function of what was measured: no clock, no I/O. Used by one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "pages/convergence.h"

namespace ferry::migrate {

// What one round of a member did, measured at its end.
struct MemberRound {
    std::uint64_t bytes_sent = 0;
    pages::Seconds duration{0};
    std::uint64_t bytes_dirty = 0;  // left to send
    double dirty_rate = 0;          // bytes per second that the service writes
    pages::Seconds fixed_cost{0};   // of its freeze and activation without any memory
    bool can_be_slower = false;     // --on-no-convergence throttle
};

class GroupConvergence {
  public:
    // `processors` of this host, which members share as well while they stand still.
    GroupConvergence(pages::ConvergenceLimits limits, std::size_t members, unsigned processors);

    void add(std::size_t member, const MemberRound& round, pages::Seconds ended);
    // False: nothing has been added since the last decision.
    [[nodiscard]] bool has_news() const { return has_news_; }
    // From the latest round of each member.
    [[nodiscard]] pages::Decision decide();
    // Of all members, by their latest rounds.
    [[nodiscard]] double dirty_rate() const;
    [[nodiscard]] bool can_be_slower() const;
    // Members have been slowed down: what did not shrink may shrink now.
    void look_again() { rules_.look_again(); }

  private:
    struct Sending {
        pages::Seconds begun{0}, ended{0};
        double bytes = 0;
    };
    struct Member {
        MemberRound latest;
        std::vector<Sending> rounds;
        std::size_t measure = 0;  // the latest of them that tells a bandwidth
        bool measures = false;    // it was long enough
    };
    // Bytes per second that all of them sent in this time.
    [[nodiscard]] double rate_during(const Sending& time) const;
    [[nodiscard]] double bandwidth() const;

    pages::Convergence rules_;
    std::vector<Member> members_;
    unsigned processors_;
    bool has_news_ = false;
};

}  // namespace ferry::migrate
