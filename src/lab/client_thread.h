// Threads of the lab that play clients on another machine.
#pragma once

#include <thread>

#include "base/error.h"
#include "lab/world.h"

namespace ferry::lab {

// Names the calling thread and puts it before the work of the machine it measures: clients on
// machines of their own would not queue behind that.
void become_a_client(const char* name);

// Runs `work` in a thread of its own inside the host's network namespace and waits for it.
template <class Work>
Result<> in_network_of(const Host& host, Work work) {
    Result<> result;
    std::thread thread([&] {
        result = host.enter_network();
        if (result) result = work();
    });
    thread.join();
    return result;
}

}  // namespace ferry::lab
