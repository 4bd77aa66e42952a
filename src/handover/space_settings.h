// The settings under /proc/sys/net of the calling thread's network namespace, all at once. What a
// namespace other than the first one shows there is its own.
//
// Source relied upon: Documentation/admin-guide/sysctl/net.rst, ip-sysctl.rst, proc(5).
#pragma once

#include <vector>

#include "base/error.h"
#include "handover/network_identity.h"

namespace ferry::handover {

// Every setting that can be read and written, by its path below /proc/sys/net, in the order of the
// paths: what holds for all devices ("conf/all") comes before what holds for one. Left out is how
// a device makes its link-local addresses, which NetworkIdentity::settings has. Some milliseconds.
// Unsupported: a secret that stable addresses are made of.
Result<std::vector<Setting>> read_space_settings();
// Writes those that exist here and differ. Called before devices are made, so that they begin with
// what is the default there, and again afterwards for the settings of the devices.
Result<> write_space_settings(const std::vector<Setting>& settings);
// A path that stays below /proc/sys/net, and one line as value.
[[nodiscard]] bool is_valid_space_setting(const Setting& setting);

}  // namespace ferry::handover
