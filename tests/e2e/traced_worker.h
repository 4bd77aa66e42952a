// A worker of an agent, traced by the test: it runs on from one system call to the next, and can be
// killed at any of them, with all that it has started to guard it. So a test hits moments that
// last for microseconds, however busy the machine is.
#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "lab/platform.h"
#include "os/fd.h"
#include "os/process.h"

namespace ferry::lab {

// The processes whose parent is this one.
inline std::vector<Pid> children_of(pid_t parent) {
    std::vector<Pid> children;
    const auto all = os::process_entries();
    if (!all) return children;
    for (const auto& [pid, inode] : *all) {
        const auto status = os::read_file(fmt::format("/proc/{}/status", pid));
        const std::string line = fmt::format("PPid:\t{}\n", parent);
        if (status && status->find(line) != std::string::npos) children.push_back(pid);
    }
    return children;
}

// One session in the journal of a platform's agent.
struct JournalEntry {
    std::string id, state;
    pid_t worker = 0;  // 0: it is not there (any more)
};

// It has the id of its session as its last argument; what it forks has a higher pid. The other half
// of the session has the same id.
inline pid_t worker_of(const std::string& session, const Host& host) {
    const auto namespace_of = [](Pid pid) {
        return os::readlinkat(os::kCwd, fmt::format("/proc/{}/ns/net", pid)).value_or("");
    };
    pid_t least = 0;
    const auto all = os::process_entries();
    if (!all) return 0;
    for (const auto& [pid, inode] : *all) {
        const auto command = os::read_file(fmt::format("/proc/{}/cmdline", pid));
        if (!command || command->find(session) == std::string::npos) continue;
        if (command->find("session-worker") == std::string::npos) continue;
        if (namespace_of(pid) != namespace_of(host.init_pid())) continue;
        if (least == 0 || pid.value < least) least = pid.value;
    }
    return least;
}

inline std::optional<JournalEntry> session_of(const Platform& platform,
                                              const std::string& service) {
    std::error_code ignored;
    const std::string journal =
        platform.host().path(std::string(kFerryDirectory) + "/state/sessions");
    for (const auto& entry : std::filesystem::directory_iterator(journal, ignored)) {
        if (entry.path().extension() != ".json") continue;
        const auto text = os::read_file(entry.path().string());
        const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
        if (!json.is_object() || json.value("service", "") != service) continue;
        const std::string id = entry.path().stem();
        return JournalEntry{
            .id = id, .state = json.value("state", ""), .worker = worker_of(id, platform.host())};
    }
    return std::nullopt;
}

struct SystemCall {
    bool is_over = false;  // otherwise it is about to begin
    std::uint64_t number = 0;
    std::uint64_t arguments[6] = {};
};

// Used by one thread. The destructor lets the worker run on.
class TracedWorker {
  public:
    // False: it is not there.
    bool seize(pid_t pid) {
        if (::ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACESYSGOOD) != 0) return false;
        pid_ = pid;
        ::ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr);
        return wait();
    }
    TracedWorker() = default;
    TracedWorker(const TracedWorker&) = delete;
    TracedWorker& operator=(const TracedWorker&) = delete;
    ~TracedWorker() {
        if (pid_ != 0) ::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
    }

    // True: it stands at the first call for which `is_it` is true. False: it has ended.
    template <class IsIt>
    bool run_until(IsIt is_it) {
        for (;;) {
            ::ptrace(PTRACE_SYSCALL, pid_, nullptr, signal_);
            if (!wait()) return false;
            if (call_ && is_it(*call_)) return true;
        }
    }
    // At once: those that it has started cannot tell that it died.
    void kill_with_guardians() {
        for (const Pid child : children_of(pid_)) ::kill(child.value, SIGKILL);
        kill();
    }
    void kill() {
        ::kill(pid_, SIGKILL);
        // The agent, its parent, reaps it after us.
        ::waitpid(pid_, nullptr, __WALL);
        pid_ = 0;
    }

  private:
    bool wait() {
        int status = 0;
        signal_ = 0;
        call_.reset();
        if (::waitpid(pid_, &status, __WALL) != pid_ || !WIFSTOPPED(status)) {
            pid_ = 0;
            return false;
        }
        const bool is_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
        const bool is_event = status >> 16 != 0;
        if (!is_call && !is_event) signal_ = WSTOPSIG(status);
        if (is_call) look();
        return true;
    }
    void look() {
        struct __ptrace_syscall_info info = {};
        ::ptrace(PTRACE_GET_SYSCALL_INFO, pid_, sizeof(info), &info);
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
            last_ = {.number = info.entry.nr};
            std::copy_n(info.entry.args, 6, last_.arguments);
        }
        last_.is_over = info.op == PTRACE_SYSCALL_INFO_EXIT;
        call_ = last_;
    }

    pid_t pid_ = 0;
    long signal_ = 0;
    SystemCall last_;
    std::optional<SystemCall> call_;
};

}  // namespace ferry::lab
