#include <fmt/format.h>
#include <linux/capability.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "features/probes.h"
#include "os/fd.h"

namespace ferry::features {
namespace {

Result<std::uint64_t> effective_capabilities() {
    const std::string status = TRY(os::read_file("/proc/thread-self/status"));
    const auto at = status.find("CapEff:\t");
    if (at == std::string::npos) return fail(Error::corrupt("/proc/thread-self/status: no CapEff"));
    return std::strtoull(status.c_str() + at + sizeof("CapEff:"), nullptr, 16);
}

Result<> has_capability(int capability, const char* name) {
    if ((TRY(effective_capabilities()) >> capability & 1) != 0) return {};
    return missing(fmt::format("{} is not in the effective set", name));
}

Result<> checkpoint_restore() {
    if (has_capability(CAP_SYS_ADMIN, "CAP_SYS_ADMIN")) return {};
    return has_capability(CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE");
}
Result<> sys_ptrace() {
    return has_capability(CAP_SYS_PTRACE, "CAP_SYS_PTRACE");
}
Result<> net_admin() {
    return has_capability(CAP_NET_ADMIN, "CAP_NET_ADMIN");
}
Result<> net_raw() {
    return has_capability(CAP_NET_RAW, "CAP_NET_RAW");
}
Result<> sys_resource() {
    return has_capability(CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE");
}

constexpr Probe kProbes[] = {
    {"cap_checkpoint_restore", "create tasks with given pids, set address space limits",
     Need::Always, checkpoint_restore},
    {"cap_sys_ptrace", "stop, read and restore tasks", Need::Always, sys_ptrace},
    {"cap_net_admin", "TCP connections, held packets, network identities", Need::Live, net_admin},
    {"cap_net_raw", "capture and replay held packets, announce addresses", Need::Live, net_raw},
    {"cap_sys_resource", "resource limits above our own, pipes above pipe-max-size", Need::Some,
     sys_resource},
};

}  // namespace

std::span<const Probe> privilege_probes() {
    return kProbes;
}

}  // namespace ferry::features
