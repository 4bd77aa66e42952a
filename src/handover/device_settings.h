// The per-device settings under /proc/sys/net that belong to a network identity.
//
// Source relied upon: Documentation/networking/ip-sysctl.rst.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "handover/network_identity.h"

namespace ferry::handover {

// The settings of `device` that this kernel knows and Ferry carries.
Result<std::vector<Setting>> read_device_settings(const std::string& device);
// Writes those that differ. A setting that this kernel does not know is an error only if it is not
// at its kernel's default elsewhere, which nobody can tell: it is skipped.
Result<> write_device_settings(const std::string& device, const std::vector<Setting>& settings);
// A key that Ferry carries with a value that such a setting can have.
[[nodiscard]] bool is_valid_setting(const Setting& setting);

// How IPv6 makes link-local addresses. A prepared device must make none by itself, so this one is
// written only when the device is kept.
inline constexpr const char* kAddressGeneration = "ipv6/addr_gen_mode";

}  // namespace ferry::handover
