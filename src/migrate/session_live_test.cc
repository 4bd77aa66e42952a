// Whole sessions without agents: the source half in this process, the destination half in a pid
// namespace of its own on the same machine, TLS over loopback between them. The victims verify
// themselves after they have crossed.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "base/check.h"
#include "migrate/session.h"
#include "net/pki.h"
#include "os/fd.h"
#include "os/memory.h"

namespace ferry::migrate {
namespace {

using std::chrono::milliseconds;

// What the agents would know of both halves, and the port; in memory that both processes share.
struct Shared {
    std::atomic<SessionState> source{SessionState::Unknown};
    std::atomic<SessionState> destination{SessionState::Unknown};
    std::atomic<std::uint16_t> port{0};
};

class TestHost : public SessionHost {
  public:
    TestHost(Shared& shared, bool is_source) : shared_(shared), is_source_(is_source) {
        auto pipe = os::pipe2(0);
        CHECK(pipe.has_value());
        control_ = std::move(*pipe);
    }
    void progress(const Progress& progress) override {
        if (progress.round >= abort_in_round) request_abort();
    }
    bool abort_requested() override { return aborted_; }
    [[nodiscard]] int control_fd() const override { return control_.first.get(); }
    Result<> record(SessionState state) override {
        (is_source_ ? shared_.source : shared_.destination) = state;
        return {};
    }
    Result<SessionState> peer_state() override {
        return (is_source_ ? shared_.destination : shared_.source).load();
    }
    void request_abort() {
        if (aborted_.exchange(true)) return;
        CHECK(os::write(control_.second.get(), os::as_bytes("x")).has_value());
    }
    int abort_in_round = 1 << 30;

  private:
    Shared& shared_;
    bool is_source_;
    std::atomic<bool> aborted_{false};
    std::pair<os::UniqueFd, os::UniqueFd> control_;
};

// The clocks of a host that has been up for longer than this one.
struct HostClocks {
    std::int64_t monotonic_seconds = 0, boottime_seconds = 0;
    bool is_other_boot = false;
};

// Who is forked from here on has them.
void have_clocks(const HostClocks& clocks) {
    if (clocks.monotonic_seconds == 0) return;
    CHECK(::unshare(CLONE_NEWTIME) == 0);
    const auto file = os::open("/proc/self/timens_offsets", O_WRONLY);
    CHECK(file.has_value());
    const std::string offsets = fmt::format("monotonic {} 0\nboottime {} 0\n",
                                            clocks.monotonic_seconds, clocks.boottime_seconds);
    CHECK(os::write(file->get(), os::as_bytes(offsets)).has_value());
}

class SharedPort : public PortSink {
  public:
    explicit SharedPort(Shared& shared) : shared_(shared) {}
    void listening(std::uint16_t port) override { shared_.port = port; }

  private:
    Shared& shared_;
};

class Sessions : public testing::Test {
  protected:
    void SetUp() override {
        char pattern[] = "/tmp/ferry-session-XXXXXX";
        directory_ = ::mkdtemp(pattern);
        ASSERT_TRUE(net::init_pki(directory_, net::Overwrite::No).has_value());
        for (const char* name : {"one", "two"}) {
            const auto issued = net::issue_certificate(
                directory_, {.name = name, .also = {"127.0.0.1"}}, net::Overwrite::No);
            ASSERT_TRUE(issued.has_value()) << issued.error().message();
        }
        auto mapping =
            os::Mapping::map(sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
        ASSERT_TRUE(mapping.has_value());
        mapping_ = std::move(*mapping);
        shared_ = new (mapping_.data()) Shared;
    }
    void TearDown() override {
        if (victim_ > 0) {
            ::kill(victim_, SIGKILL);
            ::waitpid(victim_, nullptr, 0);
        }
        std::filesystem::remove_all(directory_);
    }

    [[nodiscard]] TlsFiles tls(const std::string& name) const {
        return {.ca = directory_ + "/ca.crt",
                .certificate = directory_ + "/" + name + ".crt",
                .key = directory_ + "/" + name + ".key"};
    }

    void start_victim(const char* name, const HostClocks& clocks = {}) {
        const std::string program = fmt::format("{}/victim_{}", FERRY_VICTIM_DIRECTORY, name);
        output_ = directory_ + "/out";
        victim_ = ::fork();
        if (victim_ == 0) {
            ::setsid();
            have_clocks(clocks);  // the program has
            const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            const int out =
                ::open(output_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
            ::dup2(in, 0);
            ::dup2(out, 1);
            ::dup2(out, 2);
            ::close_range(3, ~0u, 0);
            ::execl(program.c_str(), program.c_str(), nullptr);
            ::_exit(127);
        }
        for (int i = 0; i < 500 && output().find("READY") == std::string::npos; ++i) {
            std::this_thread::sleep_for(milliseconds(10));
        }
        ASSERT_NE(output().find("READY"), std::string::npos) << output();
    }
    [[nodiscard]] std::string output() const {
        return os::read_file(output_).value_or(std::string());
    }

    // The destination's host: pid 1 of a new pid namespace. After the session it waits a little,
    // ends the service by SIGTERM and exits with 0 if that ended with 0; 42 if the session failed.
    pid_t start_destination(milliseconds run_time, const HostClocks& clocks = {}) {
        const pid_t keeper = ::fork();
        if (keeper != 0) return keeper;
        have_clocks(clocks);
        CHECK(::unshare(CLONE_NEWPID | CLONE_NEWNS) == 0);
        const pid_t init = ::fork();
        if (init != 0) {
            int status = 0;
            ::waitpid(init, &status, 0);
            ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
        }
        CHECK(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        CHECK(::mount("proc", "/proc", "proc", 0, nullptr) == 0);
        // Another host has terminals of its own.
        CHECK(::mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666") == 0);
        if (clocks.is_other_boot) {
            const std::string id = directory_ + "/boot_id";
            CHECK(
                os::write_file(AT_FDCWD, id, "00000000-1111-2222-3333-444444444444\n").has_value());
            CHECK(::mount(id.c_str(), "/proc/sys/kernel/random/boot_id", nullptr, MS_BIND,
                          nullptr) == 0);
        }
        TestHost host(*shared_, false);
        SharedPort port(*shared_);
        const DestinationRequest request = {.session = "s1",
                                            .source_name = "one",
                                            .destination_name = "two",
                                            .listen_address = "127.0.0.1",
                                            .tls = tls("two"),
                                            .placement = {},
                                            .runtime_root = {}};
        const Result<> result = run_destination(request, host, port);
        if (!result) {
            fmt::print(stderr, "destination: {}\n", result.error().describe());
            // Nothing of the tree may be left.
            ::_exit(::waitpid(-1, nullptr, WNOHANG) < 0 ? 42 : 43);
        }
        std::this_thread::sleep_for(run_time);
        ::kill(victim_, SIGTERM);
        int status = 0;
        ::waitpid(victim_, &status, 0);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
    }

    Report migrate(TestHost& host) {
        for (int i = 0; i < 1000 && shared_->port == 0; ++i)
            std::this_thread::sleep_for(milliseconds(5));
        const SourceRequest request = {.session = "s1",
                                       .service = "victim",
                                       .root = Pid{victim_},
                                       .source_name = "one",
                                       .destination_name = "two",
                                       .address = "127.0.0.1",
                                       .port = shared_->port,
                                       .tls = tls("one")};
        return run_source(request, host);
    }

    void cross(const char* victim, const HostClocks& from = {}, const HostClocks& to = {}) {
        start_victim(victim, from);
        const pid_t destination = start_destination(milliseconds(300), to);
        TestHost host(*shared_, true);
        const Report report = migrate(host);
        EXPECT_TRUE(report.succeeded) << report.error;
        fmt::print("{}\n", to_json(report));
        int status = 0;
        ASSERT_EQ(::waitpid(destination, &status, 0), destination);
        EXPECT_EQ(status, 0) << output();
        EXPECT_NE(output().find("PASS"), std::string::npos) << output();
        EXPECT_EQ(shared_->source, SessionState::Done);
        EXPECT_EQ(shared_->destination, SessionState::Done);
        // The original is gone; the session, which traced it, has reaped it.
        EXPECT_EQ(::kill(victim_, 0), -1);
        EXPECT_EQ(errno, ESRCH);
        victim_ = 0;
    }

    // The service runs on here and ends well.
    void expect_unharmed() {
        int status = 0;
        ASSERT_EQ(::waitpid(victim_, &status, WNOHANG), 0);
        ::kill(victim_, SIGTERM);
        ASSERT_EQ(::waitpid(victim_, &status, 0), victim_);
        victim_ = 0;
        EXPECT_EQ(status, 0) << output();
        EXPECT_NE(output().find("PASS"), std::string::npos) << output();
    }

    std::string directory_, output_;
    os::Mapping mapping_;
    Shared* shared_ = nullptr;
    pid_t victim_ = 0;
};

TEST_F(Sessions, AQuietProcessCrosses) {
    cross("plain");
}

TEST_F(Sessions, AProcessThatWritesAllTheTimeKeepsEveryWrite) {
    cross("writer");
}

struct ClockCase {
    const char* name;
    HostClocks from, to;
};
class Clocks : public Sessions, public testing::WithParamInterface<ClockCase> {};

TEST_P(Clocks, GoOn) {
    cross("deadlines", GetParam().from, GetParam().to);
}
TEST_P(Clocks, AreTheSameInTheVdso) {
    cross("clocks", GetParam().from, GetParam().to);
}

INSTANTIATE_TEST_SUITE_P(
    BetweenHosts, Clocks,
    testing::Values(ClockCase{"another_boot", {}, {864000, 1728000, true}},
                    ClockCase{"another_time_namespace_of_one_boot", {}, {864000, 1728000, false}},
                    ClockCase{"moving_on", {864000, 1728000}, {500, 600, true}},
                    ClockCase{"moving_back", {864000, 1728000}, {0, 0, true}},
                    ClockCase{"moving_within_one_boot", {864000, 1728000}, {}}),
    [](const auto& instance) { return std::string(instance.param.name); });

class EveryVictim : public Sessions, public testing::WithParamInterface<const char*> {};

TEST_P(EveryVictim, FindsEverythingAsItWas) {
    cross(GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Crosses, EveryVictim,
    testing::Values("blocked_calls", "aio", "aio_reads", "clocks", "credentials", "deleted_nodes",
                    "direct_reads", "epoll", "eventfd", "family", "file_locks", "floating_point",
                    "fork_storm", "ghost_files", "ghost_mappings", "growing_memory", "inotify",
                    "in_flight", "many_descriptors", "many_mappings", "many_threads", "pidfds",
                    "pidfds_of_threads", "pipe_content", "pty_pair", "process_state", "pty_session",
                    "rseq", "seccomp", "shared_anonymous", "shared_pages", "shared_large",
                    "shared_writers", "raw_sockets", "multicast", "unix_names", "small_stacks",
                    "memfd", "memfd_state", "memfd_program", "membarrier", "leaderless", "packets",
                    "stopped", "unix_listeners", "signalfd", "task_attributes", "timerfd",
                    "spinning_vectors", "thread_storm", "timers", "unix_pair", "droppable",
                    "guard_pages", "private_of_shared"),
    [](const auto& instance) { return std::string(instance.param); });

TEST_F(Sessions, AnAbortDuringPrecopyLeavesTheServiceUnharmed) {
    start_victim("writer");
    const pid_t destination = start_destination(milliseconds(0));
    TestHost host(*shared_, true);
    host.abort_in_round = 1;
    const Report report = migrate(host);
    EXPECT_FALSE(report.succeeded);
    int status = 0;
    ASSERT_EQ(::waitpid(destination, &status, 0), destination);
    EXPECT_EQ(WEXITSTATUS(status), 42);
    EXPECT_EQ(shared_->source, SessionState::Aborted);
    EXPECT_EQ(shared_->destination, SessionState::Aborted);
    expect_unharmed();
}

TEST_F(Sessions, ADeadDestinationLeavesTheServiceUnharmed) {
    start_victim("writer");
    const pid_t destination = start_destination(milliseconds(0));
    std::thread killer([&] {
        while (shared_->destination != SessionState::Precopy)
            std::this_thread::sleep_for(milliseconds(1));
        std::this_thread::sleep_for(milliseconds(15));
        const auto children =
            os::read_file(fmt::format("/proc/{0}/task/{0}/children", destination));
        ::kill(std::atoi(children.value_or("0").c_str()), SIGKILL);
    });
    TestHost host(*shared_, true);
    const Report report = migrate(host);
    killer.join();
    ::waitpid(destination, nullptr, 0);
    if (report.succeeded) GTEST_SKIP() << "the crossing was quicker than the kill";
    EXPECT_EQ(shared_->source, SessionState::Aborted);
    expect_unharmed();
}

}  // namespace
}  // namespace ferry::migrate
