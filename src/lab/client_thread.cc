#include "lab/client_thread.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace ferry::lab {

void become_a_client(const char* name) {
    ::prctl(PR_SET_NAME, name);
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), -10);
    ::prctl(PR_SET_TIMERSLACK, 1000ul);
}

}  // namespace ferry::lab
