#include "dump/guardian.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "os/socket.h"

namespace ferry::dump {
namespace {

os::UniqueFd bound_socket() {
    auto socket = os::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket->get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return std::move(*socket);
}

bool in_repair(int socket) {
    return *os::getsockopt<int>(socket, IPPROTO_TCP, TCP_REPAIR) != 0;
}

// Starts a guardian in a child, puts the socket into repair, and kills the child with SIGKILL.
void die_with_socket_in_repair(int socket, bool registered) {
    auto ready = os::pipe2(0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto guardian = Guardian::start();
        if (registered) (*guardian)->add(socket, true);
        static_cast<void>(os::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, 1));
        static_cast<void>(os::write(ready->second.get(), os::as_bytes("x")));
        for (;;) ::pause();
    }
    std::byte byte;
    ASSERT_TRUE(os::read_all(ready->first.get(), std::span(&byte, 1)).has_value());
    ASSERT_TRUE(in_repair(socket));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (int i = 0; i < 200 && in_repair(socket); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

TEST(Guardian, EndsRepairWhenItsProcessIsKilled) {
    const os::UniqueFd socket = bound_socket();
    die_with_socket_in_repair(socket.get(), true);
    EXPECT_FALSE(in_repair(socket.get()));
    EXPECT_EQ(*os::getsockopt<int>(socket.get(), SOL_SOCKET, SO_REUSEADDR), 1);
}

TEST(Guardian, LeavesEverythingAloneAfterACleanEnd) {
    const os::UniqueFd socket = bound_socket();
    {
        auto guardian = Guardian::start();
        ASSERT_TRUE(guardian.has_value());
        (*guardian)->add(socket.get(), false);
        ASSERT_TRUE(os::setsockopt(socket.get(), IPPROTO_TCP, TCP_REPAIR, 1).has_value());
        EXPECT_EQ(::kill((*guardian)->pid(), 0), 0);
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);  // it has been reaped
    EXPECT_TRUE(in_repair(socket.get()));
}

TEST(Guardian, KeepsItsTableShort) {
    auto guardian = Guardian::start();
    ASSERT_TRUE(guardian.has_value());
    for (int round = 0; round < 3; ++round) {
        for (int fd = 100; fd < 1100; ++fd) (*guardian)->add(fd, false);
        for (int fd = 1099; fd >= 100; --fd) (*guardian)->remove(fd);
    }
}

// A tree of one task that stands in SIGSTOP, the fate of which is asked for at `decision` when its
// guardian's process is killed. True: it went on.
bool goes_on(const std::string& decision) {
    const pid_t tree = ::fork();
    if (tree == 0) {
        for (;;) ::pause();
    }
    ::kill(tree, SIGSTOP);
    ::waitpid(tree, nullptr, WUNTRACED);
    auto ready = os::pipe2(0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto guardian = Guardian::start();
        const auto pidfd = os::PidFd::open(Pid{tree});
        const int fd = pidfd->get();
        static_cast<void>((*guardian)->decide_as(decision, std::span(&fd, 1)));
        static_cast<void>(os::write(ready->second.get(), os::as_bytes("x")));
        for (;;) ::pause();
    }
    ready->second.reset();
    std::byte byte;
    EXPECT_TRUE(os::read_all(ready->first.get(), std::span(&byte, 1)).has_value());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    // The guardian shares the pipe's end: it is closed when the guardian has done its work.
    EXPECT_EQ(*os::read(ready->first.get(), std::span(&byte, 1)), 0u);
    const bool continued = ::waitpid(tree, nullptr, WCONTINUED | WNOHANG) == tree;
    ::kill(tree, SIGKILL);
    ::waitpid(tree, nullptr, 0);
    return continued;
}

TEST(Guardian, DecidesAgainstAGroupOfWhichNothingIsDecided) {
    std::string directory = "/tmp/ferry-guardian-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    EXPECT_TRUE(goes_on(directory + "/open"));
    EXPECT_EQ(*os::readlinkat(os::kCwd, directory + "/open"), "abort");
    EXPECT_TRUE(goes_on(directory + "/open"));
    ASSERT_EQ(::symlink("commit", (directory + "/done").c_str()), 0);
    EXPECT_FALSE(goes_on(directory + "/done"));
    std::filesystem::remove_all(directory);
}

using Messages = std::vector<std::pair<unsigned, std::string>>;

Messages take_all(mqd_t queue) {
    Messages messages;
    std::string text(8192, ' ');
    unsigned priority = 0;
    for (;;) {
        const ssize_t size = ::mq_receive(queue, text.data(), text.size(), &priority);
        if (size < 0) return messages;
        messages.emplace_back(priority, text.substr(0, static_cast<std::size_t>(size)));
    }
}

// A process with a guardian copies the queue and is killed at that stop of a system call, before it
// or after it. False: it had ended by then.
bool is_killed_copying(const std::string& name, int stop) {
    auto alive = os::pipe2(0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto guardian = Guardian::start();
        const mqd_t queue = ::mq_open(name.c_str(), O_RDWR | O_NONBLOCK);
        ::ptrace(PTRACE_TRACEME, 0, 0, 0);
        ::raise(SIGSTOP);
        const auto copied = (*guardian)->custody().copy(queue);
        ::_exit(copied && copied->size() == 4 ? 0 : 1);
    }
    alive->second.reset();
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    for (int passed = 0; WIFSTOPPED(status) && passed < stop; ++passed) {
        ::ptrace(PTRACE_SYSCALL, child, 0, 0);
        EXPECT_EQ(::waitpid(child, &status, 0), child);
    }
    const bool killed = WIFSTOPPED(status);
    if (killed) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
    } else {
        EXPECT_EQ(status, 0);
    }
    // The guardian shares the pipe's end: it is closed when the guardian has done its work.
    std::byte byte;
    EXPECT_EQ(*os::read(alive->first.get(), std::span(&byte, 1)), 0u);
    return killed;
}

TEST(Guardian, PutsMessagesBackWhenItsProcessIsKilledAtAnyMoment) {
    const std::string name = "/ferry-guardian-" + std::to_string(::getpid());
    const mqd_t queue = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_NONBLOCK, 0600, nullptr);
    ASSERT_GE(queue, 0);
    const Messages messages = {{9, "first"}, {9, ""}, {3, std::string(5000, 'x')}, {0, "last"}};
    int stop = 0;
    bool killed = true;
    for (; killed; ++stop) {
        for (const auto& [priority, text] : messages) {
            ASSERT_EQ(::mq_send(queue, text.data(), text.size(), priority), 0);
        }
        killed = is_killed_copying(name, stop);
        ASSERT_EQ(take_all(queue), messages) << "killed at stop " << stop;
    }
    EXPECT_GT(stop, 16) << "each message is received and sent, with two stops each";
    ::mq_close(queue);
    ::mq_unlink(name.c_str());
}

}  // namespace
}  // namespace ferry::dump
