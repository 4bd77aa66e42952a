// What a worker that was killed may have left of its session's tree on this host. Its guardian sees
// to that when it lives on (dump/guardian.h); these are for when it was killed as well. Stateless:
// what is to be undone is found by looking, so nothing is harmed where there is nothing.
#pragma once

#include "agent/session_info.h"

namespace ferry::agent {

// Of a source whose service stays: the tree goes on. Its connections leave repair mode, in which
// they are deaf, and SIGCONT ends the SIGSTOP in which it was held. To be called once the worker
// has been reaped or its lock is free: until then its threads are in trace stops.
void let_go(const SessionInfo& source);

// Of a source whose service runs elsewhere: ends what is left, without a word to its peers.
void end_left(const SessionInfo& source);

// Of a destination whose tree has died with the worker: ends what was let go before that, and
// waits for its end. False: it has not ended within the time.
bool end_remains(const SessionInfo& destination);

}  // namespace ferry::agent
