// What Podman finds in the place of its runtime and of CRIU while it exports or imports a container
// for us (docs/decisions/0022): this program, under their names.
//
//   criu swrk FD                says that it is CRIU 4.2
//   runc checkpoint ...         makes an image directory with nothing in it; the container runs on
//   runc restore ... ID         asks the worker at kStandInSocket; see below
//   runc ANYTHING               is the real runtime's
//   netavark ...                see podman_network.h
//   conmon ...                  the real monitor, without what leads to us in its environment: at
//   its
//                               end, when all this is gone, it calls Podman
//
// A container has to be made by a descendant of its monitor, so that the monitor reaps it. So
// `restore` makes the container for the worker. Over a SOCK_SEQPACKET connection, JSON texts:
//
//   {"id", "bundle"}     with its own three standard streams, which lead to the monitor
//   {"create": BUNDLE}   with descriptors that become 3, 4, ... in the container's first process
//   {"status", "error"}  of `runc create`
//   {"end": 0}           it ends with this status
//
// Where the connection breaks it ends with 1, and Podman takes the import back.
#pragma once

#include <optional>
#include <span>

namespace ferry::container {

inline constexpr const char* kStandInsAside = "podman";  // make_aside()
inline constexpr const char* kRuntimeStandIn = "runc";
inline constexpr const char* kCriuStandIn = "criu";
inline constexpr const char* kRealRuntime = "runtime";
inline constexpr const char* kMonitorStandIn = "conmon";
inline constexpr const char* kRealMonitor = "monitor";
inline constexpr const char* kOwnConfiguration = "configuration";  // leads to $CONTAINERS_CONF
inline constexpr const char* kStandInSocket = "socket";

// Which of these names a program answers to: `ferry` is more than a stand-in for CRIU (swrk).
enum class StandInFor { PodmansPrograms, PodmansProgramsAndCriu };
// Nullopt: we were called by a name of our own. Otherwise the exit status. For main().
std::optional<int> run_stand_in(std::span<char* const> arguments, StandInFor whom);

}  // namespace ferry::container
