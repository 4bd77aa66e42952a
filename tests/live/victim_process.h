// Starts a victim (tests/victims) for a live test and judges it in the end.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/types.h"

namespace ferry::live {

// One running victim. The destructor kills it. Usable after started() only.
class VictimProcess {
  public:
    // Its output goes to a file, which Ferry can carry; a pipe to us would be one end of a tree.
    explicit VictimProcess(const std::string& name) {
        output_ = ::mkstemp(output_path_.data());
        const std::string path = std::string(VICTIM_DIRECTORY) + "/victim_" + name;
        pid_ = ::fork();
        if (pid_ == 0) {
            ::setsid();
            ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
            const int out = ::open(output_path_.c_str(), O_WRONLY | O_APPEND);
            ::dup2(out, STDOUT_FILENO);
            ::dup2(out, STDERR_FILENO);
            ::close_range(3, ~0u, 0);
            ::execl(path.c_str(), path.c_str(), nullptr);
            ::_exit(127);
        }
        while (output().find('\n') == std::string::npos && is_alive()) ::usleep(1000);
        started_ = output().starts_with("READY");
    }
    VictimProcess(const VictimProcess&) = delete;
    VictimProcess& operator=(const VictimProcess&) = delete;
    ~VictimProcess() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        if (output_ >= 0) ::close(output_);
        ::unlink(output_path_.c_str());
    }

    [[nodiscard]] bool started() const { return started_; }
    [[nodiscard]] Pid pid() const { return Pid{pid_}; }
    [[nodiscard]] bool is_alive() const { return ::kill(pid_, 0) == 0 && state() != 'Z'; }
    // The letter of /proc/PID/stat.
    [[nodiscard]] char state() const {
        char buffer[512] = {};
        const int fd = ::open(("/proc/" + std::to_string(pid_) + "/stat").c_str(), O_RDONLY);
        if (fd < 0) return '?';
        const ssize_t n = ::read(fd, buffer, sizeof(buffer) - 1);
        ::close(fd);
        const std::string text(buffer, n > 0 ? static_cast<std::size_t>(n) : 0);
        const auto close = text.rfind(')');
        return close == std::string::npos || close + 2 >= text.size() ? '?' : text[close + 2];
    }

    // Asks the victim to verify itself; "PASS", or what it said instead.
    [[nodiscard]] std::string verdict() {
        ::kill(pid_, SIGTERM);
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        const std::string text = output();
        if (text.ends_with("PASS\n") && status == 0) return "PASS";
        return text + " (wait status " + std::to_string(status) + ")";
    }
    // Everything it has said so far.
    [[nodiscard]] std::string output() const {
        std::string text(4096, 0);
        const ssize_t n = ::pread(output_, text.data(), text.size(), 0);
        text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return text;
    }

  private:
    pid_t pid_ = -1;
    int output_ = -1;
    bool started_ = false;
    std::string output_path_ = "/tmp/ferry-live-XXXXXX";
};

}  // namespace ferry::live
