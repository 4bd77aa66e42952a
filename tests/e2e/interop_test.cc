// Every victim, dumped by CRIU and restored by Ferry, and the other way round. Needs
// CRIU=/path/to/criu (4.1 or later). One victim: --gtest_filter='*/epoll'.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "lab/platform.h"
#include "lab/world.h"
#include "os/fd.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;

enum class Way { CriuToFerry, FerryToCriu };

// What does not pass, and why. Whatever passes after all must leave this table.
enum class When { Always, WithoutSysResource, ByChance };
struct Limit {
    const char* victim;
    Way way;
    const char* reason;
    When when = When::Always;
};
constexpr Limit kLimits[] = {
    {"blocked_calls", Way::CriuToFerry, "CRIU's dump ends some calls with EINTR"},
    {"credentials", Way::CriuToFerry, "CRIU reads limits by prlimit(2)", When::WithoutSysResource},
    {"deadlines", Way::FerryToCriu, "CRIU leaves out what a timerfd's clock has past the second",
     When::ByChance},
    {"eventfd", Way::CriuToFerry, "CRIU's format has no EFD_SEMAPHORE"},
    {"eventfd", Way::FerryToCriu, "CRIU's format has no EFD_SEMAPHORE"},
    {"file_locks", Way::CriuToFerry, "CRIU does not write a child's lock on an inherited file"},
    {"inotify", Way::FerryToCriu, "CRIU's format has no queue of inotify"},
    {"memfd_state", Way::CriuToFerry, "CRIU writes seals of a memfd whose mappings exclude them"},
    {"multicast", Way::CriuToFerry, "CRIU's format has no multicast groups"},
    {"multicast", Way::FerryToCriu, "CRIU's format has no multicast groups"},
    {"netlink", Way::CriuToFerry, "CRIU's format has no options of SOL_NETLINK"},
    {"netlink", Way::FerryToCriu, "CRIU's format has no options of SOL_NETLINK"},
    {"pidfds_of_threads", Way::CriuToFerry, "CRIU does not dump pidfds of threads"},
    {"pidfds_of_threads", Way::FerryToCriu, "CRIU opens pidfds before there are threads"},
    {"pty_pair", Way::CriuToFerry, "CRIU's format does not say whether a terminal is hung up"},
    {"pty_pair", Way::FerryToCriu, "CRIU forgets the exclusive mode of a terminal"},
    {"pty_session", Way::CriuToFerry, "CRIU does not dump this descriptor of /dev/tty"},
    {"pty_session", Way::FerryToCriu, "CRIU's children do not get their controlling terminal"},
    {"raw_sockets", Way::CriuToFerry, "CRIU does not see a raw socket's peer without a port"},
    {"raw_sockets", Way::FerryToCriu, "CRIU connects only those whose peer has a port"},
    {"socket_options", Way::CriuToFerry, "CRIU's format has no TCP_MAXSEG"},
    {"socket_options", Way::FerryToCriu, "CRIU's format has no TCP_MAXSEG"},
    {"socket_owners", Way::CriuToFerry, "CRIU's format has no owners of sockets"},
    {"socket_owners", Way::FerryToCriu, "CRIU's format has no owners of sockets"},
    {"stopped", Way::CriuToFerry, "CRIU's format does not say whether a stop was waited for"},
    {"stopped", Way::FerryToCriu, "CRIU's stops raise SIGCHLD"},
    {"task_attributes", Way::CriuToFerry, "CRIU's format has no I/O priority"},
    {"task_attributes", Way::FerryToCriu, "CRIU's format has no I/O priority"},
    {"udp_queue", Way::CriuToFerry, "CRIU's format has no unread datagrams of UDP"},
    {"udp_queue", Way::FerryToCriu, "CRIU's format has no unread datagrams of UDP"},
    {"unix_listeners", Way::CriuToFerry, "CRIU reads limits by prlimit(2)",
     When::WithoutSysResource},
    {"unix_listeners", Way::FerryToCriu, "CRIU listens again as root"},
};

bool has_sys_resource() {
    return ::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1;
}

// Of the IPC namespace of a container (container_ipc_test.cc): nobody carries what is the host's.
// Of its terminal (container_terminal_test.cc).
constexpr const char* kOfContainers[] = {"console",      "message_queues", "posix_queues",
                                         "queue_thread", "segments",       "semaphores"};

std::vector<std::string> victims() {
    std::vector<std::string> names;
    std::istringstream list(FERRY_VICTIMS);
    for (std::string name; std::getline(list, name, ',');) {
        if (std::ranges::find(kOfContainers, name) == std::end(kOfContainers)) {
            names.push_back(name);
        }
    }
    return names;
}

// A host of its own for each, whose first process reaps what is orphaned there.
class Interop : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override {
        const char* criu = std::getenv("CRIU");
        if (criu == nullptr) GTEST_SKIP() << "CRIU is not set";
        criu_ = criu;
        auto world = World::create({{.name = "alone", .addresses = {"192.0.2.1/24"}}});
        ASSERT_TRUE(world.has_value()) << world.error().describe();
        world_ = std::move(*world);
        // Their pids are the same every time, and so are the names that they make of these.
        ASSERT_EQ(run({"mount", "-t", "tmpfs", "victims", "/tmp"}).status, 0);
        char made[] = "/var/tmp/ferry-interop-XXXXXX";
        ASSERT_NE(::mkdtemp(made), nullptr);
        directory_ = made;
        std::filesystem::create_directory(directory_ + "/images");
    }
    void TearDown() override {
        world_.reset();
        if (!directory_.empty()) std::filesystem::remove_all(directory_);
    }

    // Empty, or what went wrong.
    std::string cross(Way way) {
        const std::string victim = std::string(FERRY_VICTIM_DIRECTORY) + "/victim_" + GetParam();
        const CommandResult started =
            run({"sh", "-c", "cd \"$1\" && { setsid \"$2\" > out 2> err < /dev/null & echo $!; }",
                 "sh", directory_, victim});
        pid_ = std::strtol(started.out.c_str(), nullptr, 10);
        if (!says("READY")) return "it did not start: " + said();
        std::this_thread::sleep_for(kSettle);
        if (const std::string error = dump(way); !error.empty()) return "dump: " + error;
        // The commands to come must not take the pids of the tree.
        run({"sh", "-c", "echo $1 > /proc/sys/kernel/ns_last_pid", "sh",
             std::to_string(pid_ + 1000)});
        if (!ends()) return "it lives on after the dump";
        if (const std::string error = restore(way); !error.empty()) return "restore: " + error;
        std::this_thread::sleep_for(kSettle);
        run({"kill", "-TERM", std::to_string(pid_)});
        return says("PASS") ? "" : "afterwards: " + said();
    }

  private:
    // For its threads to run, and for the first to wait for its signal.
    static constexpr auto kSettle = 300ms;

    CommandResult run(const std::vector<std::string>& arguments) {
        auto result = world_->host(0).run(arguments, 60s);
        if (!result) return {.status = -1, .out = {}, .err = result.error().describe()};
        return *result;
    }
    CommandResult run_ferry(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), program_directory().value_or("") + "/ferry");
        return run(arguments);
    }
    std::string dump(Way way) {
        const std::vector<std::string> what = {"dump",        "-t",     std::to_string(pid_),
                                               "-D",          images(), "--tcp-established",
                                               "--file-locks"};
        if (way == Way::FerryToCriu) {
            const CommandResult dumped = run_ferry(what);
            return dumped.status == 0 ? "" : dumped.err;
        }
        return run_criu(what, {"--network-lock", "nftables", "--ext-unix-sk"});
    }
    std::string restore(Way way) {
        const std::vector<std::string> what = {
            "restore", "-D", images(), "--tcp-established", "--file-locks", "--restore-detached"};
        if (way == Way::FerryToCriu) return run_criu(what, {});
        const CommandResult restored = run_ferry(what);
        return restored.status == 0 ? "" : restored.err;
    }
    std::string run_criu(std::vector<std::string> arguments, const std::vector<std::string>& more) {
        const std::string log = arguments.front() + ".log";
        arguments.insert(arguments.begin(), criu_);
        arguments.insert(arguments.end(), more.begin(), more.end());
        arguments.insert(arguments.end(), {"-o", log});
        if (run(arguments).status == 0) return {};
        return run({"grep", "-a", "Error", images() + "/" + log}).out;
    }

    [[nodiscard]] std::string images() const { return directory_ + "/images"; }
    [[nodiscard]] std::string said() const {
        return os::read_file(directory_ + "/out").value_or("") +
               os::read_file(directory_ + "/err").value_or("");
    }
    [[nodiscard]] bool says(const std::string& word) const {
        return comes_true([&] { return said().find(word) != std::string::npos; },
                          [&] { return said().find("FAIL") != std::string::npos; });
    }
    bool ends() {
        return comes_true([&] { return run({"kill", "-0", std::to_string(pid_)}).status != 0; },
                          [] { return false; });
    }
    template <class Condition, class Hopeless>
    static bool comes_true(Condition condition, Hopeless hopeless) {
        for (int attempt = 0; attempt < 400; ++attempt) {
            if (condition()) return true;
            if (hopeless()) return false;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }

    std::string criu_, directory_;
    std::unique_ptr<World> world_;
    long pid_ = 0;
};

void expect_as_known(const std::string& victim, Way way, const std::string& error) {
    for (const Limit& limit : kLimits) {
        if (victim != limit.victim || way != limit.way) continue;
        if (limit.when == When::WithoutSysResource && has_sys_resource()) continue;
        if (limit.when == When::ByChance && error.empty()) return;
        EXPECT_NE(error, "") << "is no limit any more: " << limit.reason;
        if (!error.empty()) GTEST_SKIP() << limit.reason << "\n" << error;
        return;
    }
    EXPECT_EQ(error, "");
}

TEST_P(Interop, FerryRestoresWhatCriuDumped) {
    expect_as_known(GetParam(), Way::CriuToFerry, cross(Way::CriuToFerry));
}

TEST_P(Interop, CriuRestoresWhatFerryDumped) {
    expect_as_known(GetParam(), Way::FerryToCriu, cross(Way::FerryToCriu));
}

INSTANTIATE_TEST_SUITE_P(EveryVictim, Interop, testing::ValuesIn(victims()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace ferry::lab
