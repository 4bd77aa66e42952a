// Between the generated messages and the agent's values. For server.cc and client.cc only.
#pragma once

#include "agent/agent.pb.h"
#include "agent/orders.h"
#include "agent/session_info.h"

namespace ferry::agent {

[[nodiscard]] v1::Session to_wire(const SessionInfo& info);
// Corrupt where a name is none of ours.
Result<SessionInfo> from_wire(const v1::Session& wire);
[[nodiscard]] v1::Progress to_wire(const migrate::Progress& progress);
[[nodiscard]] migrate::Progress from_wire(const v1::Progress& wire);
[[nodiscard]] v1::MigrateRequest to_wire(const MigrateOrder& order);
// Invalid: it asks for a method or choice that there is none of.
Result<MigrateOrder> from_wire(const v1::MigrateRequest& wire);
// In the first message of a call: without where it comes from, if it says nothing of that.
[[nodiscard]] v1::FetchRequest to_wire(const FetchOrder& order);
Result<FetchOrder> from_wire(const v1::FetchRequest& wire);
Result<FetchEvent> from_wire(const v1::FetchEvent& wire);
[[nodiscard]] v1::FetchEvent to_wire(const FetchEvent& event);
[[nodiscard]] v1::PingReply to_wire(const AgentIdentity& identity);
[[nodiscard]] AgentIdentity from_wire(const v1::PingReply& wire);

}  // namespace ferry::agent
