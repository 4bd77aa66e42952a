// Agents for tests: ferryd_rehearsal processes with keys, sockets and state of their own.
#pragma once

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "agent/client.h"
#include "base/check.h"
#include "net/listener.h"
#include "net/pki.h"
#include "net/test_directory.h"
#include "os/launch.h"

namespace ferry::agent {

inline constexpr std::chrono::seconds kTestPatience{30};

// Calls `ready` until it is true; false if it never becomes so.
template <class Ready>
bool eventually(Ready ready) {
    const auto deadline = net::Deadline::after(kTestPatience);
    while (!deadline.passed()) {
        if (ready()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

class TestDaemon {
  public:
    // Runs in directory/NAME with the keys of directory/pki. Port 0: no TCP.
    TestDaemon(std::string directory, std::string name, std::uint16_t port)
        : directory_(std::move(directory)), name_(std::move(name)), port_(port) {
        start();
    }

    void start() {
        os::Launch launch;
        launch.arguments = command();
        child_ = std::move(*os::ChildProcess::start(launch));
        CHECK(eventually([&] { return ControlClient::connect(socket()).has_value(); }));
    }
    void signal(int number) { CHECK(child_.send_signal(number).has_value()); }
    // Exit status, or 128 + signal.
    int end_with(int number) {
        signal(number);
        const auto status = child_.wait(kTestPatience);
        CHECK(status.has_value());
        CHECK(status->has_value());
        return **status;
    }
    [[nodiscard]] std::vector<std::string> command() const {
        std::vector<std::string> all = {FERRYD_REHEARSAL,    "--socket", socket(),
                                        "--state-dir",       state(),    "--pki-dir",
                                        directory_ + "/pki", "--name",   name_};
        if (port_ != 0) {
            all.insert(all.end(), {"--listen", fmt::format("127.0.0.1:{}", port_)});
        }
        return all;
    }
    [[nodiscard]] std::string socket() const { return directory_ + "/" + name_ + ".sock"; }
    [[nodiscard]] std::string state() const { return directory_ + "/" + name_ + ".state"; }
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] ControlClient control() const {
        return std::move(*ControlClient::connect(socket()));
    }
    // The most recent session that has ended; empty id: none.
    [[nodiscard]] SessionInfo last() const {
        const auto sessions = control().history(1);
        CHECK(sessions.has_value());
        return sessions->empty() ? SessionInfo{} : sessions->front();
    }

  private:
    std::string directory_;
    std::string name_;
    std::uint16_t port_;
    os::ChildProcess child_;
};

// A port that nobody uses just now.
inline std::uint16_t free_port() {
    const auto listener = net::Listener::bind({.host = "127.0.0.1", .port = 0});
    CHECK(listener.has_value());
    return listener->port();
}

// A process with a command name of its own, for as long as this lives.
class NamedProcess {
  public:
    NamedProcess(const std::string& directory, const std::string& name) {
        const std::string path = directory + "/" + name;
        std::filesystem::copy_file("/bin/sleep", path,
                                   std::filesystem::copy_options::skip_existing);
        os::Launch launch;
        launch.arguments = {path, "1000"};
        child_ = std::move(*os::ChildProcess::start(launch));
    }
    [[nodiscard]] Pid pid() const { return child_.pid(); }
    [[nodiscard]] std::string text() const { return fmt::format("{}", pid()); }

  private:
    os::ChildProcess child_;
};

}  // namespace ferry::agent
