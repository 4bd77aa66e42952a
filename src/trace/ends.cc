#include "trace/ends.h"

#include <fmt/format.h>

#include "os/ptrace.h"
#include "trace/tracee.h"

namespace ferry::trace {
namespace {

// Whether nothing of it is left to wait for.
bool has_ended(Tid tid) {
    const auto status = os::wait_nohang(tid);
    if (!status) return true;
    if (!status->has_value()) return false;
    if (Stop::decode(**status).is_end()) return true;
    // A stop from before its end.
    static_cast<void>(os::ptrace_cont(tid, 0));
    return false;
}

}  // namespace

Result<> await_ends(std::vector<Tid> threads, std::chrono::milliseconds timeout) {
    static constexpr std::chrono::microseconds kLongestSleep{1000};
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    const os::ChildSignal signal;
    for (;;) {
        std::erase_if(threads, has_ended);
        if (threads.empty()) return {};
        if (std::chrono::steady_clock::now() >= deadline) {
            return fail(Error::limit(fmt::format("{} killed threads, among them {}, do not end",
                                                 threads.size(), threads.front())));
        }
        signal.sleep(kLongestSleep);
    }
}

}  // namespace ferry::trace
