#include "resources/socket_kind.h"

#include <sys/socket.h>

#include "os/socket.h"

namespace ferry::resources {

Result<SocketKind> socket_kind(int fd) {
    return SocketKind{.family = TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_DOMAIN)),
                      .type = TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_TYPE)),
                      .protocol = TRY(os::getsockopt<int>(fd, SOL_SOCKET, SO_PROTOCOL))};
}

}  // namespace ferry::resources
