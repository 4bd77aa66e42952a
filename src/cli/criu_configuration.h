// A file with options of CRIU's, such as /etc/criu/runc.conf: the only way by which whoever knows
// his runtime only can ask for more than that has options for. One option a line, as on CRIU's
// command line but without the dashes; "#" begins a comment (criu(8), "CONFIGURATION FILES").
#pragma once

#include <string_view>

#include "base/error.h"
#include "cli/criu_rpc.h"

namespace ferry::cli {

// What the text says goes before what the request does. Unsupported, by name: an option that Ferry
// does not have. Invalid: a value that makes no sense.
Result<> apply_configuration(std::string_view text, RpcOptions& options);

}  // namespace ferry::cli
