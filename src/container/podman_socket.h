// Unix sockets over which texts and descriptors come: between a worker and its stand-in for
// Podman's runtime (podman_stand_in.h), and from a runtime (console.h). For this module's .cc
// files.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::container {

struct SocketMessage {
    std::string text;
    std::vector<os::UniqueFd> fds;
};

Result<os::UniqueFd> listen_at(const std::string& path, int type);
Result<os::UniqueFd> listen_for_stand_in(const std::string& path);
Result<os::UniqueFd> connect_stand_in(const std::string& path);
Result<> send_message(int socket, const std::string& text, std::span<const int> fds);
// Gone: the other side has closed. Limit: it has said nothing in this time.
Result<SocketMessage> receive_message(int socket);
Result<> await_readable(int socket, std::chrono::milliseconds timeout);

}  // namespace ferry::container
