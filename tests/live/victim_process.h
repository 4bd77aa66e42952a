// Starts a victim (tests/victims) for a live test and judges it in the end.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/types.h"

namespace ferry::live {

// One running victim. The destructor kills it. Usable after started() only.
class VictimProcess {
  public:
    explicit VictimProcess(const std::string& name) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        const std::string path = std::string(VICTIM_DIRECTORY) + "/victim_" + name;
        pid_ = ::fork();
        if (pid_ == 0) {
            ::setsid();
            ::dup2(ends[1], STDOUT_FILENO);
            ::execl(path.c_str(), path.c_str(), nullptr);
            ::_exit(127);
        }
        ::close(ends[1]);
        output_ = ends[0];
        while (text_.find('\n') == std::string::npos && read_more()) {
        }
        started_ = text_.starts_with("READY");
    }
    VictimProcess(const VictimProcess&) = delete;
    VictimProcess& operator=(const VictimProcess&) = delete;
    ~VictimProcess() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        if (output_ >= 0) ::close(output_);
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
        while (read_more()) {
        }
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        if (text_.ends_with("PASS\n") && status == 0) return "PASS";
        return text_ + " (wait status " + std::to_string(status) + ")";
    }

  private:
    bool read_more() {
        char buffer[512];
        const ssize_t n = ::read(output_, buffer, sizeof(buffer));
        if (n > 0) text_.append(buffer, static_cast<std::size_t>(n));
        return n > 0;
    }

    pid_t pid_ = -1;
    int output_ = -1;
    bool started_ = false;
    std::string text_;
};

}  // namespace ferry::live
