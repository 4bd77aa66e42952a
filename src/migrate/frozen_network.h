// The network of a container while it stands still for a dump into files, and until somebody
// restores it.
//
// Its own network namespace: packets to its addresses are held there, so that no stack sees a
// connection without its socket. When its processes have ended, with their sockets in repair mode,
// its devices are removed, and their other ends with them, before the hold: nothing is left that
// could answer for the container's addresses, no reset is sent, and its peers try again until
// somebody restores it. No packet filter has to stay behind, and what was held is dropped: to its
// senders it was lost.
//
// Somebody else's namespace, such as one that Podman has made or the host's: it is left as it is,
// but for a packet filter that silences the container's connections there (connection_lock.h).
//
// Internal to migrate/. One thread.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/types.h"
#include "migrate/container_images.h"

namespace ferry::migrate {

class FrozenNetwork {
  public:
    // Before the freeze. `has_connections`: TCP connections with peers are dumped. Unsupported: the
    // network namespace is the host's, what handover::find_network() refuses.
    static Result<std::unique_ptr<FrozenNetwork>> own(Pid root, const std::string& name,
                                                      bool has_connections);
    static Result<std::unique_ptr<FrozenNetwork>> joined(Pid root, bool has_connections);

    FrozenNetwork() = default;
    FrozenNetwork(const FrozenNetwork&) = delete;
    FrozenNetwork& operator=(const FrozenNetwork&) = delete;
    virtual ~FrozenNetwork() = default;

    // In the freeze, before sockets are read.
    virtual Result<> hold() = 0;
    // In the freeze: what the images say of it.
    virtual Result<> describe(ContainerImages& images) = 0;
    // The container is about to run on; it does.
    virtual void allow_outgoing() = 0;
    virtual void release() = 0;
    // From here on it goes, even if we die.
    virtual Result<> commit() = 0;
    // The processes have ended.
    virtual Result<> remove() = 0;
};

}  // namespace ferry::migrate
