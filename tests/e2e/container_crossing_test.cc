// A container under runc crosses live, by its name, and is its runtime's on the other side.
#include <map>

#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

// The numbers of lines "WHO NUMBER" in files that were written one after the other, by WHO.
std::map<std::string, std::vector<int>> lines_of(const std::vector<std::string>& paths) {
    std::map<std::string, std::vector<int>> lines;
    for (const std::string& path : paths) {
        std::ifstream file(path);
        std::string who;
        for (int number = 0; file >> who >> number;) lines[who].push_back(number);
    }
    return lines;
}

// Every number once and in order: nothing was lost, nothing came twice.
void expect_whole(const std::vector<int>& numbers) {
    ASSERT_GT(numbers.size(), 500u);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        ASSERT_EQ(numbers[i], static_cast<int>(i) + 1);
    }
}

TEST_F(ContainerCrossingTest, RedisCrossesThereAndBackAndItsClientsGoOn) {
    auto load = start_redis(16 * 1024);
    ASSERT_OK(load);
    std::this_thread::sleep_for(300ms);
    cross(0, 1);
    EXPECT_EQ((*load)->failure(), std::nullopt);
    const auto state = container_->status();
    ASSERT_OK(state);
    EXPECT_EQ(*state, "running");
    const auto gone = runc(platform(0).host(), {"list"}, 10s);
    ASSERT_OK(gone);
    EXPECT_THAT(gone->out, testing::Not(HasSubstr("web")));
    const auto inside = runc_checked(platform(1).host(), {"exec", "web", "redis-cli", "ping"}, 10s);
    ASSERT_OK(inside);
    EXPECT_THAT(*inside, HasSubstr("PONG"));
    cross(1, 0);
    EXPECT_EQ((*load)->failure(), std::nullopt);
    ferry::lab::expect_nothing_lost(**load);
    ASSERT_OK(container_->stop(10s));
}

TEST_F(ContainerCrossingTest, WhoeverIsKilledItGoesOnWhereItWas) {
    auto load = start_redis(192 * 1024);
    ASSERT_OK(load);
    const std::string none = traces();
    EXPECT_EQ(none, "");
    const std::string worker = kKillWorker;
    const std::string agent = "kill -9 $(pgrep -o -x ferryd)";
    const std::pair<std::size_t, std::string> victims[] = {{0, worker}, {1, worker}, {1, agent}};
    const auto await_traces = [&] {
        for (int i = 0; i < 2000 && traces() == none; ++i) std::this_thread::sleep_for(5ms);
        EXPECT_NE(traces(), none);
    };
    for (const auto& [where, what] : victims) {
        expect_to_fail("web", await_traces, where, what);
        if (what == agent) {
            ASSERT_OK(platform(1).restart_agent());
        }
        const auto state = container_->status();
        ASSERT_OK(state);
        EXPECT_EQ(*state, "running");
        for (int i = 0; i < 200 && traces() != none; ++i) std::this_thread::sleep_for(50ms);
        EXPECT_EQ(traces(), none) << what << " on " << platform(where).name();
        expect_goes_on(**load);
    }
    cross(0, 1);
    ASSERT_OK((*load)->stop());
    const auto verified = (*load)->verify();
    ASSERT_OK(verified);
    EXPECT_EQ(verified->lost, 0u);
}

TEST_F(ContainerCrossingTest, WhatItsNetworkCannotTakeAlongIsRefusedByName) {
    start_container({"sleep", "1000"});
    const auto refused = [&](const std::string& reason) {
        const auto result =
            platform(0).run_ferry({"migrate", "web", "--to", platform(1).address(), "--json"}, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_THAT(result->err + result->out, HasSubstr(reason));
        const auto state = container_->status();
        ASSERT_OK(state);
        EXPECT_EQ(*state, "running");
        const auto nothing = runc(platform(1).host(), {"list"}, 10s);
        ASSERT_OK(nothing);
        EXPECT_THAT(nothing->out, testing::Not(HasSubstr("web")));
    };
    ASSERT_OK(
        lab_->client().run_checked({"ip", "addr", "add", "10.77.1.100/32", "dev", "eth0"}, 5s));
    refused("the address 10.77.1.100 is taken");
    ASSERT_OK(
        lab_->client().run_checked({"ip", "addr", "del", "10.77.1.100/32", "dev", "eth0"}, 5s));
    const auto pid = fmt::format("{}", container_->init_pid());
    const auto queue = [&](const std::vector<std::string>& what) {
        std::vector<std::string> command = {"nsenter", "-t", pid, "-n", "tc", "qdisc"};
        command.insert(command.end(), what.begin(), what.end());
        return platform(0).host().run_checked(command, 5s);
    };
    ASSERT_OK(queue({"add", "dev", "eth0", "root", "pfifo", "limit", "10"}));
    refused("queueing discipline pfifo");
    ASSERT_OK(queue({"del", "dev", "eth0", "root"}));
}

TEST_F(ContainerCrossingTest, ItsBridgeMayHaveAnotherNameAtTheDestination) {
    start_container({"sleep", "1000"});
    ASSERT_OK(platform(1).host().run_checked(
        {"ip", "-batch", "-"}, 5s,
        "link set lan down\nlink set lan name lan2\nlink set lan2 up\n"));
    const auto migrate = [&](const std::vector<std::string>& options) {
        std::vector<std::string> arguments = {"migrate", "web", "--to", platform(1).address()};
        arguments.insert(arguments.end(), options.begin(), options.end());
        return platform(0).run_ferry(arguments, 60s);
    };
    const auto refused = migrate({});
    ASSERT_OK(refused);
    EXPECT_NE(refused->status, 0);
    EXPECT_THAT(refused->err, HasSubstr("there is no bridge lan here to plug eth0 into"));
    const auto moved = migrate({"--bridge", "lan2"});
    ASSERT_OK(moved);
    ASSERT_EQ(moved->status, 0) << moved->err;
    ASSERT_OK(container_->follow_to(platform(1).host()));
    ASSERT_OK(lab_->client().run_checked({"ping", "-c1", "-W1", kIp}, 5s));
}

TEST_F(ContainerCrossingTest, SeveralServicesGoOneAfterTheOther) {
    start_container({"sleep", "1000"});
    std::vector<std::string> command = {"migrate", "web", "nobody", "--to", platform(1).address()};
    const auto refused = platform(0).run_ferry(command, 60s);
    ASSERT_OK(refused);
    EXPECT_NE(refused->status, 0);
    EXPECT_THAT(refused->err, HasSubstr("no container or process named nobody"));
    EXPECT_EQ(*container_->status(), "running");
    command.emplace_back("--sequential");
    const auto tried = platform(0).run_ferry(command, 60s);
    ASSERT_OK(tried);
    EXPECT_NE(tried->status, 0);
    EXPECT_THAT(tried->err, HasSubstr("no container or process named nobody"));
    ASSERT_OK(container_->follow_to(platform(1).host()));
    const auto state = container_->status();
    ASSERT_OK(state);
    EXPECT_EQ(*state, "running");
}

TEST_F(ContainerCrossingTest, WhatIsInItsTmpfsMountsCrossesWithIt) {
    start_container({"sleep", "1000"});
    const auto inside = [&](std::size_t where, const std::string& script) {
        return runc_checked(platform(where).host(), {"exec", "web", "sh", "-c", script}, 10s);
    };
    ASSERT_OK(inside(0,
                     "mkdir -m 1750 /dev/shm/d; echo kept > /dev/shm/d/file; "
                     "ln -s d/file /dev/shm/link; mkfifo /dev/shm/fifo; rm /dev/full"));
    const std::string look =
        "find /dev /dev/shm -xdev ! -path /dev/pts ! -path /dev/mqueue "
        "-printf '%p %y %m %U %s %T@ %l\\n' | sort; cat /dev/shm/link";
    const auto before = inside(0, look);
    ASSERT_OK(before);
    cross(0, 1);
    const auto after = inside(1, look);
    ASSERT_OK(after);
    EXPECT_EQ(*after, *before);
    EXPECT_THAT(*after, HasSubstr("kept"));
}

// Four processes write numbers all the time: into the pipe to a logger, through another open of
// that pipe, into a file of the host, and there through a descriptor that was duplicated.
constexpr const char* kWriters = R"(
$SIG{TERM} = sub { exit 0 };
sub forever { my ($name, $to) = @_; select($to); $| = 1;
    for (my $i = 1;; $i++) { print "$name $i\n"; select(undef, undef, undef, 0.001); } }
open(my $again, ">>", "/proc/self/fd/1"); open(my $other, ">&", \*STDERR);
for (["reopened", $again], ["file", \*STDERR], ["duplicate", $other]) {
    if (fork() == 0) { forever(@$_); } }
forever("pipe", \*STDOUT);)";

TEST_F(ContainerCrossingTest, WhatItWritesOutsideOfItselfIsWholeAfterwards) {
    const auto log = os::open(directory_ + "/log", O_WRONLY | O_CREAT | O_APPEND);
    const auto errors = os::open(directory_ + "/errors", O_WRONLY | O_CREAT | O_APPEND);
    auto pipe = os::pipe2(0);
    ASSERT_OK(log);
    ASSERT_OK(errors);
    ASSERT_OK(pipe);
    os::Launch launch = platform(0).host().launch({"cat"});
    launch.stdin_fd = pipe->first.get();
    launch.stdout_fd = log->get();
    auto logger = os::ChildProcess::start(launch);
    ASSERT_OK(logger);
    start_container({"perl", "-e", kWriters}, pipe->second.get(), errors->get());
    pipe->first.reset();
    pipe->second.reset();
    std::this_thread::sleep_for(700ms);
    cross(0, 1, {"--output", directory_ + "/output"});
    const auto ended = logger->wait(10s);
    ASSERT_OK(ended);
    EXPECT_EQ(*ended, 0) << "its logger did not see the end of the pipe";
    std::this_thread::sleep_for(700ms);
    cross(1, 0);
    std::this_thread::sleep_for(700ms);
    ASSERT_OK(container_->stop(10s));
    const auto piped = lines_of({directory_ + "/log", directory_ + "/output"});
    const auto filed = lines_of({directory_ + "/errors"});
    for (const char* name : {"pipe", "reopened"}) {
        SCOPED_TRACE(name);
        ASSERT_TRUE(piped.contains(name));
        expect_whole(piped.at(name));
    }
    for (const char* name : {"file", "duplicate"}) {
        SCOPED_TRACE(name);
        ASSERT_TRUE(filed.contains(name));
        expect_whole(filed.at(name));
    }
}

TEST_F(ContainerCrossingTest, AFailureLeavesItsStreamsAlone) {
    auto pipe = os::pipe2(0);
    ASSERT_OK(pipe);
    start_container({"perl", "-e", "$| = 1; for (;;) { print 'x'; sleep 1 }"}, pipe->second.get());
    const auto refused = [&](const std::string& output, const std::string& reason) {
        const auto result = platform(0).run_ferry(
            {"migrate", "web", "--to", platform(1).address(), "--output", output}, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_THAT(result->err, HasSubstr(reason));
    };
    refused("/nowhere/at/all/log", "its standard output has no place here");
    ASSERT_OK(platform(1).host().run_checked({"ip", "link", "set", "lan", "name", "lan2"}, 5s));
    refused(directory_ + "/output", "there is no bridge lan here");
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/output")) << "an empty file was left";
}

}  // namespace
}  // namespace ferry::lab
