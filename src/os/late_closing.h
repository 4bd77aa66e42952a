// Closing that nobody waits for. The last close(2) of a packet socket, or of an nftables socket
// whose table went a moment ago, lasts as long as the kernel needs for a grace period of RCU: 10 to
// 20 ms each (packet_release(), nft_rcv_nl_event(); Linux 6.18). A program with some of them ends
// 60 ms after it has done its work.
#pragma once

#include "base/error.h"
#include "os/fd.h"

namespace ferry::os {

// While it lives, another process holds a copy of every descriptor that was open at its begin, but
// for the standard ones; when it is destroyed, that process ends and closes them for the last time.
// So begin it when nothing is open that somebody waits to see closed, declare it before what is to
// be closed, and use it where this process is about to end. One thread.
class LateClosing {
  public:
    static Result<LateClosing> begin();

  private:
    explicit LateClosing(UniqueFd alive) : alive_(std::move(alive)) {}
    UniqueFd alive_;  // a pipe's writing end: the process ends with it
};

}  // namespace ferry::os
