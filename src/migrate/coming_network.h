// The network of a container that comes out of image files: the other half of FrozenNetwork.
//
// Its own namespace is filled by a thread of its own while the pages are read: its settings take as
// long as many pages, and nobody needs it before the first socket. In somebody else's, packets for
// the container's connections are held from the beginning until their sockets are there.
//
// Internal to migrate/. One thread.
#pragma once

#include <memory>

#include "base/error.h"
#include "container/config.h"
#include "handover/network_move.h"
#include "migrate/container_images.h"
#include "os/network_namespace.h"

namespace ferry::migrate {

class ComingNetwork {
  public:
    // Before anything is made. The references live as long as this object. Unsupported: what
    // handover::ArrivingNetwork::check_unowned() refuses.
    static Result<std::unique_ptr<ComingNetwork>> of(const ContainerImages& images,
                                                     const container::Config& config,
                                                     const handover::Placement& placement);

    ComingNetwork() = default;
    ComingNetwork(const ComingNetwork&) = delete;
    ComingNetwork& operator=(const ComingNetwork&) = delete;
    virtual ~ComingNetwork() = default;

    // The container's namespace is there; await(): its network is.
    virtual void begin(os::NetworkNamespace space) = 0;
    virtual Result<> await() = 0;
    // Everything is in place: its peers are let in.
    virtual Result<> open() = 0;
    // The container runs.
    virtual void keep() = 0;
};

}  // namespace ferry::migrate
