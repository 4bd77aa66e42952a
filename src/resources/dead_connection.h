// A TCP connection that has ended with an error which the application has not read yet.
#pragma once

#include "base/error.h"
#include "os/fd.h"

namespace ferry::resources {

// A socket in that state: reading it fails with ECONNRESET once, then gives end of file. (Which
// error it was shows nobody without taking it away.) Through loopback, which must be up.
Result<os::UniqueFd> open_reset_connection(int family);

}  // namespace ferry::resources
