// Whatever of Ferry's is killed, and at whichever moment, the service goes on, once. Moments are
// found by the system calls that a worker makes.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "container_fixture.h"
#include "eventually.h"
#include "traced_worker.h"

namespace ferry::lab {
namespace {

// A tree of several processes that say how far they have come, each in a file of its own. The first
// holds a lock, and goes on only with a TCP connection that works. (It writes again where that
// fails: with the guardian dead nobody is there before the tree to take a connection out of repair
// mode.)
constexpr const char* kBeating = R"(
use Fcntl ':flock';
use IO::Socket::INET;
my ($directory) = @ARGV;
chdir $directory;
open(my $lock, ">", "lock");
flock($lock, LOCK_EX | LOCK_NB) or die;
my $n = 0;
for (1 .. 6) { if (!fork()) { close $lock; $n = $_; last } }
my ($listener, $near, $far);
if ($n == 0) {
    $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", ReuseAddr => 1);
    $near = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $listener->sockport());
    $far = $listener->accept();
}
for (my $i = 1;; $i++) {
    if ($n == 0) {
        select(undef, undef, undef, 0.02) until syswrite($near, "x");
        sysread($far, my $x, 1) or die;
    }
    open(my $beat, ">", "beat.$n");
    print $beat $i;
    close $beat;
    select(undef, undef, undef, 0.02);
})";
constexpr int kBeats = 7;

enum class Kind { Tree, Container };
enum class Alone { Yes, No };

struct Beating {
    std::string name;       // for Ferry
    std::string directory;  // from outside
    std::unique_ptr<Container> container;
};

class KilledWorkerTest : public ContainerCrossingTest,
                         public testing::WithParamInterface<std::tuple<Kind, Alone>> {
  protected:
    void TearDown() override {
        for (const Beating& service : services_) {
            for (const Pid pid : all_of(service)) ::kill(pid.value, SIGKILL);
        }
        services_.clear();
        ContainerCrossingTest::TearDown();
    }

    void start_all() {
        start_beating("web", "10.77.1.100/24", "02:fe:77:00:01:64");
        if (std::get<Alone>(GetParam()) == Alone::No) {
            start_beating("talker", "10.77.1.101/24", "02:fe:77:00:01:65");
        }
        for (const Beating& service : services_) expect_beating(service);
    }
    void start_beating(const std::string& name, const std::string& address,
                       const std::string& mac) {
        Beating service;
        service.name = name;
        if (std::get<Kind>(GetParam()) == Kind::Container) {
            service.directory = storage() + "/" + name + "/rootfs/data";
            service.container = make_container({.name = name,
                                                .bundle = {},
                                                .directory = {},
                                                .bridge = {},
                                                .address = address,
                                                .mac = mac},
                                               {"perl", "-e", kBeating, "/data"});
            ASSERT_NE(service.container, nullptr);
        } else {
            service.directory = directory_ + "/" + name;
            std::filesystem::create_directories(service.directory);
            ASSERT_OK(platform(0).host().run_checked(
                {"setsid", "-f", "sh", "-c", "exec \"$@\" </dev/null >/dev/null 2>&1", "sh", "perl",
                 "-e", kBeating, service.directory},
                10s));
            pid_t root = 0;
            ASSERT_TRUE(eventually([&] { return (root = root_of(service)) != 0; }));
            service.name = number_inside(root);
        }
        services_.push_back(std::move(service));
    }
    // Its first process, which is the one with the lowest pid.
    static pid_t root_of(const Beating& service) {
        pid_t least = 0;
        for (const Pid pid : all_of(service)) {
            if (least == 0 || pid.value < least) least = pid.value;
        }
        return least;
    }
    // In the platform's pid namespace.
    static std::string number_inside(pid_t pid) {
        const auto status = os::read_file(fmt::format("/proc/{}/status", pid)).value_or("");
        const auto line = status.find("NSpid:");
        const auto end = status.find('\n', line);
        const auto last = status.rfind('\t', end);
        return status.substr(last + 1, end - last - 1);
    }
    static std::vector<Pid> all_of(const Beating& service) {
        std::vector<Pid> found;
        const auto all = os::process_entries();
        if (!all) return found;
        for (const auto& [pid, inode] : *all) {
            const auto command = os::read_file(fmt::format("/proc/{}/cmdline", pid));
            if (!command || !command->starts_with("perl") || service.container) continue;
            if (command->ends_with(service.directory + std::string(1, '\0'))) found.push_back(pid);
        }
        return found;
    }
    template <class F>
    static bool eventually(F what) {
        return ferry::lab::eventually(what, 60s);
    }
    static long beat(const Beating& service, int number) {
        const auto text = os::read_file(fmt::format("{}/beat.{}", service.directory, number));
        return std::atol(text.value_or("").c_str());
    }
    // All of its processes go on, and it still has its lock.
    void expect_beating(const Beating& service) const {
        for (int number = 0; number < kBeats; ++number) {
            const long before = beat(service, number);
            // What was left by a reader at the moment of a write counts as nothing.
            EXPECT_TRUE(eventually([&] { return beat(service, number) > before + 3; }))
                << service.name << ": process " << number << " stands at " << before;
        }
        if (!keeps_locks_) return;
        const auto file = os::open(service.directory + "/lock", O_RDWR);
        ASSERT_OK(file);
        EXPECT_NE(::flock(file->get(), LOCK_EX | LOCK_NB), 0) << service.name << " has no lock";
    }
    // It goes on, at this platform, and nowhere else.
    void expect_at(std::size_t where, Beating& service) {
        if (service.container) {
            EXPECT_TRUE(eventually([&] { return runs_at(where, service.name); }));
            EXPECT_TRUE(eventually([&] { return !runs_at(1 - where, service.name); }));
        } else {
            EXPECT_TRUE(eventually([&] { return all_of(service).size() == kBeats; }))
                << all_of(service).size() << " processes";
        }
        if (service.container && where == 1) {
            EXPECT_OK(service.container->follow_to(platform(1).host()));
        }
        expect_beating(service);
    }
    void expect_all_at(std::size_t where) {
        for (Beating& service : services_) expect_at(where, service);
    }
    // The runtime still knows what has been ended.
    void forget_containers(std::size_t where) {
        for (const Beating& service : services_) {
            if (!service.container || runs_at(where, service.name)) continue;
            EXPECT_OK(runc(platform(where).host(), {"delete", "--force", service.name}, 10s));
        }
    }
    bool runs_at(std::size_t where, const std::string& name) {
        const auto listed = runc(platform(where).host(), {"list"}, 10s);
        if (!listed) return false;
        const auto at = listed->out.find("\n" + name);
        return at != std::string::npos &&
               listed->out.find("running", at) < listed->out.find('\n', at + 1);
    }

    // Starts a migration, and traces the worker of the first service at `where`.
    void begin(std::size_t where) {
        std::vector<std::string> arguments = {"migrate"};
        for (const Beating& service : services_) arguments.push_back(service.name);
        arguments.insert(arguments.end(), {"--to", platform(1).address()});
        os::Launch launch = platform(0).host().launch(platform(0).ferry(arguments));
        launch.stderr_fd = STDERR_FILENO;
        auto migration = os::ChildProcess::start(launch);
        ASSERT_OK(migration);
        migration_ = std::move(*migration);
        worker_.emplace();
        ASSERT_TRUE(eventually([&] {
            const auto session = session_of(platform(where), services_.front().name);
            return session && session->worker != 0 && worker_->seize(session->worker);
        })) << logs();
    }
    [[nodiscard]] std::string logs() { return platform(0).agent_log() + platform(1).agent_log(); }
    int end() {
        worker_.reset();
        const auto status = migration_.wait(120s);
        EXPECT_OK(status);
        return status && *status ? **status : -1;
    }

    bool keeps_locks_ = true;
    std::vector<Beating> services_;
    os::ChildProcess migration_;
    std::optional<TracedWorker> worker_;
};

bool is_over(const SystemCall& call, long number) {
    return call.is_over && call.number == static_cast<std::uint64_t>(number);
}
bool is_repair(const SystemCall& call) {
    return is_over(call, SYS_setsockopt) && call.arguments[1] == IPPROTO_TCP &&
           call.arguments[2] == TCP_REPAIR;
}
bool is_hold(const SystemCall& call) {
    return is_over(call, SYS_pidfd_send_signal) && call.arguments[1] == SIGSTOP;
}
// A file of the journal is replaced; nothing else is renamed by a worker in the freeze.
bool is_record(const SystemCall& call) {
    return is_over(call, SYS_renameat) || is_over(call, SYS_renameat2) || is_over(call, SYS_rename);
}
bool is_ptrace(const SystemCall& call, int request) {
    return is_over(call, SYS_ptrace) && call.arguments[0] == static_cast<std::uint64_t>(request);
}

TEST_P(KilledWorkerTest, ASourceInAnyPhaseBeforeTheDecision) {
    start_all();
    if (HasFatalFailure()) return;
    for (const auto& [phase, is_reached] :
         {std::pair("in repair", &is_repair), std::pair("held", &is_hold)}) {
        SCOPED_TRACE(phase);
        begin(0);
        if (HasFatalFailure()) return;
        ASSERT_TRUE(worker_->run_until(is_reached)) << logs();
        worker_->kill_with_guardians();
        EXPECT_EQ(end(), 1);
        expect_all_at(0);
    }
}

// The next agent finds what was left.
TEST_P(KilledWorkerTest, ASourceThatHoldsAndItsAgent) {
    start_all();
    if (HasFatalFailure()) return;
    begin(0);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(worker_->run_until(is_hold));
    ASSERT_OK(platform(0).host().run_checked({"sh", "-c", "kill -9 $(pgrep -o -x ferryd)"}, 5s));
    worker_->kill_with_guardians();
    EXPECT_NE(end(), 0);
    ASSERT_OK(platform(0).restart_agent());
    expect_all_at(0);
}

// It has decided, and nobody has been told. Its tree is not ended before the destination says that
// it runs, which waits for the locks in vain.
TEST_P(KilledWorkerTest, ASourceThatHasDecided) {
    start_all();
    if (HasFatalFailure()) return;
    keeps_locks_ = false;
    begin(0);
    if (HasFatalFailure()) return;
    ASSERT_TRUE(worker_->run_until(is_hold));
    ASSERT_TRUE(worker_->run_until(is_record));
    worker_->kill_with_guardians();
    end();
    expect_all_at(1);
    forget_containers(0);
}

// The kernel is told of one thread after the other that it outlives the worker.
TEST_P(KilledWorkerTest, ADestinationThatLetsItsTreeGo) {
    start_all();
    if (HasFatalFailure()) return;
    const bool alone = services_.size() == 1;
    for (const int let_go : {3, 0}) {
        SCOPED_TRACE(let_go);
        begin(1);
        if (HasFatalFailure()) return;
        // Before that come the locks, which the source gives up meanwhile.
        std::optional<bool> decided;
        int left = let_go;
        ASSERT_TRUE(worker_->run_until([&](const SystemCall& call) {
            if (is_record(call)) {
                const auto session = session_of(platform(1), services_.front().name);
                decided = session && session->state == "running";
            }
            return decided.value_or(false) && is_ptrace(call, PTRACE_SETOPTIONS) && left-- == 0;
        }));
        worker_->kill_with_guardians();
        // In a group it follows the others.
        EXPECT_EQ(end(), alone ? 1 : 0);
        expect_at(alone ? 0 : 1, services_.front());
        if (!alone) return expect_at(1, services_.back());
    }
    // The next attempt would.
    forget_containers(1);
}

// From the last of them on it is the kernel that lets the tree go.
TEST_P(KilledWorkerTest, ADestinationWhoseTreeOutlivesIt) {
    start_all();
    if (HasFatalFailure()) return;
    begin(1);
    if (HasFatalFailure()) return;
    bool decided = false;
    ASSERT_TRUE(worker_->run_until([&](const SystemCall& call) {
        if (is_record(call)) {
            const auto session = session_of(platform(1), services_.front().name);
            decided = session && session->state == "running";
        }
        const bool is_let_go =
            call.number == SYS_ptrace && !call.is_over && call.arguments[0] == PTRACE_DETACH;
        return decided && is_let_go;
    }));
    worker_->kill();
    EXPECT_EQ(end(), 0);
    expect_all_at(1);
}

class WaitingForLocksTest : public KilledWorkerTest {};

// It has told the source that it runs but for the locks, which that gives up.
TEST_P(WaitingForLocksTest, ADestinationIsKilled) {
    start_all();
    if (HasFatalFailure()) return;
    begin(1);
    if (HasFatalFailure()) return;
    bool decided = false;
    constexpr std::uint64_t kAgent = 3;  // and below it the log
    ASSERT_TRUE(worker_->run_until([&](const SystemCall& call) {
        if (is_record(call)) {
            const auto session = session_of(platform(1), services_.front().name);
            decided = session && session->state == "running";
        }
        const bool says =
            is_over(call, SYS_write) || is_over(call, SYS_sendto) || is_over(call, SYS_sendmsg);
        return decided && says && call.arguments[0] > kAgent;
    }));
    // The lock is free once the source has heard of it.
    EXPECT_TRUE(eventually([&] {
        const auto file = os::open(services_.front().directory + "/lock", O_RDWR);
        return file && ::flock(file->get(), LOCK_EX | LOCK_NB) == 0;
    }));
    worker_->kill_with_guardians();
    // Who would have removed the container was killed as well: who follows finds that.
    const bool alone = services_.size() == 1;
    EXPECT_EQ(end(), alone ? 1 : 0);
    expect_at(alone ? 0 : 1, services_.front());
    if (alone) {
        forget_containers(1);
    } else {
        expect_at(1, services_.back());
    }
}

std::string name_of(const testing::TestParamInfo<std::tuple<Kind, Alone>>& test) {
    const bool alone = std::get<Alone>(test.param) == Alone::Yes;
    return std::string(alone ? "A" : "GroupOf") +
           (std::get<Kind>(test.param) == Kind::Tree ? "Tree" : "Container") + (alone ? "" : "s");
}

INSTANTIATE_TEST_SUITE_P(Of, WaitingForLocksTest,
                         testing::Combine(testing::Values(Kind::Tree, Kind::Container),
                                          testing::Values(Alone::Yes, Alone::No)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Of, KilledWorkerTest,
                         testing::Combine(testing::Values(Kind::Tree, Kind::Container),
                                          testing::Values(Alone::Yes, Alone::No)),
                         name_of);

}  // namespace
}  // namespace ferry::lab
