// The life of ferryd: from its command line to its last session.
#pragma once

namespace ferry::agent {

// Exit status: 0 after an orderly end, 1 if it could not start, 2 for a wrong command line. `ferry
// agent` and `ferryd` both come here.
int run_daemon(int argc, const char* const* argv);

}  // namespace ferry::agent
