// What an agent and the worker of a group's member say to each other on the second SOCK_SEQPACKET
// pair of such a worker: one word per packet. The end of either side is the end of the group, as
// far as nothing is decided.
//
//   worker -> agent        agent -> worker
//   ready                  pass             once all are ready; back: not any more
//   passed                 freeze           once all have passed
//   frozen, or busy        go, or thaw      busy is not answered
//   vote                   decided          the decision is where group_decision.h says
//                          abort: WHY       at any time
#pragma once

#include <string_view>

namespace ferry::agent::words {

inline constexpr std::string_view kReady = "ready", kBack = "back", kPass = "pass";
inline constexpr std::string_view kPassed = "passed", kFreeze = "freeze";
inline constexpr std::string_view kFrozen = "frozen", kBusy = "busy", kGo = "go", kThaw = "thaw";
inline constexpr std::string_view kVote = "vote", kDecided = "decided", kAbort = "abort: ";

}  // namespace ferry::agent::words
