// What an agent and the worker of a group's member say to each other on the second SOCK_SEQPACKET
// pair of such a worker: one word per packet. The end of either side is the end of the group, as
// far as nothing is decided.
//
//   worker -> agent        agent -> worker
//   ready ROUND            pass VERDICT     once all are ready; back: not any more
//                          again VERDICT    the same, but another round is due
//   passed LEAD            freeze DELAY     once all have passed; ms, until it has to begin
//   frozen, or busy        go, or thaw      busy is not answered
//   vote                   decided          the decision is where group_decision.h says
//                          abort: WHY       at any time
//
// Between two agents the same words cross for each member of the other one's, and
//
//                          wish             for an end, as Session::abort() is; the worker's agent
//                                           does not pass it on
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "migrate/group_gate.h"

namespace ferry::agent::words {

inline constexpr std::size_t kWordBytesMax = 4096;
inline constexpr std::string_view kReady = "ready", kBack = "back";
inline constexpr std::string_view kPassed = "passed", kFreeze = "freeze";
inline constexpr std::string_view kFrozen = "frozen", kBusy = "busy", kGo = "go", kThaw = "thaw";
inline constexpr std::string_view kVote = "vote", kDecided = "decided", kAbort = "abort: ";
inline constexpr std::string_view kWish = "wish";

// ROUND is left out where it has been told.
[[nodiscard]] std::string ready(const std::optional<migrate::MemberRound>& round);
[[nodiscard]] Result<std::optional<migrate::MemberRound>> round_of(std::string_view ready);
// "passed" and "freeze", with milliseconds.
[[nodiscard]] std::string with_time(std::string_view word, std::chrono::milliseconds time);
// 0 where there is none.
[[nodiscard]] std::chrono::milliseconds time_of(std::string_view word);
// "pass" or "again", as the verdict says.
[[nodiscard]] std::string of(const migrate::GroupVerdict& verdict);
[[nodiscard]] Result<migrate::GroupVerdict> verdict_of(std::string_view word);

}  // namespace ferry::agent::words
