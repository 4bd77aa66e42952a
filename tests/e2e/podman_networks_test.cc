// Containers of Podman's on several networks, with IPv6 and with names, and what becomes of their
// connections where the link between the agents is cut.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>

#include "podman_network_fixture.h"
#include "silent_cut.h"
#include "talker.h"
#include "traced_worker.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class PodmanNetworksTest : public PodmanNetworkTest {
  protected:
    static constexpr const char* kSecondIp = "10.77.2.100";
    static constexpr const char* kSecondIp6 = "fd00:77:2::100";
    static constexpr const char* kSecondMac = "02:fe:77:00:02:64";

    // They are ours to reap: their host does not end before.
    void TearDown() override {
        talkers_.clear();
        PodmanNetworkTest::TearDown();
    }
    // Somebody on the client's host who counts through one connection for good.
    void talk(const std::string& own, const std::string& peer) {
        const std::string file = fmt::format("{}/said{}", directory_, talkers_.size());
        auto talking =
            os::ChildProcess::start(lab_->client().launch(talker(own, file, peer, peer)));
        ASSERT_OK(talking);
        talkers_.push_back(std::move(*talking));
        ASSERT_TRUE(comes_true([&] { return std::atoi(said_in(file).c_str()) > 0; }))
            << peer << ": " << said_in(file);
    }
    void expect_all_talking() {
        for (std::size_t i = 0; i < talkers_.size(); ++i) {
            expect_talking(fmt::format("{}/said{}", directory_, i));
        }
    }
    // What Podman and the container's kernel have of its networks.
    std::string networks(std::size_t i) {
        return podman(i, {"inspect", "--format",
                          "{{range .NetworkSettings.Networks}}{{.IPAddress}} "
                          "{{.GlobalIPv6Address}} {{.MacAddress}}\n{{end}}",
                          "web"})
                   .value_or("unknown") +
               platform(i)
                   .host()
                   .run_checked({"sh", "-c",
                                 "for what in addr link; do nsenter -n -t "
                                 "$(podman inspect --format '{{.State.Pid}}' web) "
                                 "ip -br $what; done | sed 's/@if[0-9]*//' | tr -s ' '"},
                                kLimit)
                   .value_or("unknown");
    }

    // What the container is told where a name service answers, as numbers; `name` has five letters.
    std::string ask(std::size_t i, const std::string& name) {
        constexpr const char* kAsk =
            "nsenter -n -t $(podman inspect --format '{{.State.Pid}}' web) bash -c '"
            "exec 3<>/dev/udp/10.77.2.1/53; printf "
            "\"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x05$0\\0\\0\\x01\\0\\x01\" >&3; "
            "timeout 2 dd bs=512 count=1 status=none <&3 | od -An -tu1 -w512 | tr -s \" \"' \"$1\"";
        return platform(i)
            .host()
            .run_checked({"sh", "-c", kAsk, "sh", name}, kLimit)
            .value_or("nothing");
    }

    // Cuts the link between the agents, silently.
    void write_cut() { std::ofstream(directory_ + "/cut") << silent_cut(platform(1).address()); }
    // After a migration that failed for it, and then one that does not.
    void expect_it_cost_nothing(Load& load, const std::string& before) {
        ASSERT_OK(platform(0).host().run_checked({"nft", "delete", "table", "ip", "cut"}, kLimit));
        EXPECT_TRUE(comes_true([&] { return listed(1).empty() && traces(1).empty(); }))
            << listed(1) << traces(1);
        EXPECT_TRUE(comes_true([&] { return traces(0) == before; })) << traces(0);
        EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
        expect_goes_on(load);
        expect_published_at(0);
        const CommandResult moved = migrate();
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_EQ(traces(0), "");
        expect_published_at(1);
        ferry::lab::expect_nothing_lost(load);
    }

    std::vector<os::ChildProcess> talkers_;
};

TEST_F(PodmanNetworksTest, OnTwoOfBothVersionsEveryConnectionGoesOnThereAndBack) {
    make_second("two", "10.77.2.0/24 fd00:77:2::/64");
    run_container(
        {"/bin/redis-server", "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", ""},
        {"--network", fmt::format("lan:ip={},mac={}", kIp, kMac), "--network",
         fmt::format("two:ip={},ip6={},mac={}", kSecondIp, kSecondIp6, kSecondMac)});
    EXPECT_TRUE(comes_true([&] { return ping(kIp, 6379); }));
    talk("10.77.1.2", kIp);
    talk("10.77.2.2", kSecondIp);
    talk("fd00:77:2::2", kSecondIp6);
    const std::string before = networks(0);
    EXPECT_THAT(before, testing::AllOf(HasSubstr(kIp), HasSubstr(kSecondIp), HasSubstr(kSecondIp6),
                                       HasSubstr(kMac), HasSubstr(kSecondMac)));
    for (const std::size_t to : {1u, 0u}) {
        const CommandResult moved = migrate(to);
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        expect_all_talking();
        EXPECT_EQ(listed(1 - to), "");
        EXPECT_EQ(traces(1 - to), "");
        EXPECT_EQ(networks(to), before);
    }
    ASSERT_OK(podman(0, {"rm", "-f", "-t", "0", "web"}));
    EXPECT_EQ(traces(0), "");
}

// The address that its programs ask for names is one of both hosts.
TEST_F(PodmanNetworksTest, ANetworkWithNamesHasThemAtTheSameAddress) {
    make_second("two", "10.77.2.0/24", "10.77.2.1");
    run_container(
        {"/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""},
        {"--network", "two", "--ip", kSecondIp});
    EXPECT_TRUE(comes_true([&] { return ping(kSecondIp, 6379); }));
    const auto names = [&](std::size_t i) {
        const auto known =
            platform(i).host().run({"cat", "/run/containers/networks/aardvark-dns/two"}, kLimit);
        return known ? known->out : "unknown";
    };
    EXPECT_THAT(names(0), HasSubstr(id_));
    make_network(1, "10.77.2.0/24", "two", "10.77.2.9");
    expect_refused("with names at 10.77.2.9 here");
    make_network(1, "10.77.2.0/24", "two", "10.77.2.1");
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    EXPECT_THAT(names(1), HasSubstr(id_));
    EXPECT_THAT(names(0), testing::Not(HasSubstr(id_)));
}

// At the destination its programs are told of the containers there.
TEST_F(PodmanNetworksTest, NamesAreThoseOfTheHostThatItIsOn) {
    make_second("two", "10.77.2.0/24", "10.77.2.1");
    for (std::size_t i = 0; i < 2; ++i) {
        // netavark gives an address only to bridges that it has made.
        ASSERT_OK(platform(i).host().run_checked(
            {"ip", "addr", "add", "10.77.2.1/24", "dev", "two"}, kLimit));
        // Who asks for the gateway asks for its own host's.
        ASSERT_OK(platform(i).host().run_checked(
            {"nft", "-f", "-"}, kLimit,
            "table netdev apart {\n  chain in {\n    type filter hook ingress device cable "
            "priority 0;\n    arp daddr ip 10.77.2.1 drop\n  }\n}\n"));
        ASSERT_OK(
            podman(i, {"run", "-d", "--name", fmt::format("peer{}", i), "--network", "two", "--ip",
                       fmt::format("10.77.2.{}", 50 + i), "ferry/test:1", "/bin/sleep", "1000"}));
    }
    run_container({"/bin/sleep", "1000"}, {"--network", "two", "--ip", kSecondIp});
    const auto knows = [&](std::size_t i, std::size_t peer) {
        return ask(i, fmt::format("peer{}", peer)).find(fmt::format(" 10 77 2 {}", 50 + peer)) !=
               std::string::npos;
    };
    EXPECT_TRUE(comes_true([&] { return knows(0, 0); })) << ask(0, "peer0");
    for (const std::size_t to : {1u, 0u}) {
        const CommandResult moved = migrate(to);
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_TRUE(comes_true([&] { return knows(to, to); }))
            << ask(to, fmt::format("peer{}", to));
        EXPECT_FALSE(knows(to, 1 - to));
    }
}

// Silently, in pre-copy.
TEST_F(PodmanNetworksTest, ACutLinkCostsNeitherAConnectionNorLeavesAnything) {
    // Slow, so that each phase lasts.
    ASSERT_OK(
        platform(0).host().run_checked({"tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate",
                                        "200mbit", "burst", "128k", "latency", "100ms"},
                                       5s));
    auto load = start_redis(48 * 1024);
    ASSERT_OK(load);
    const std::string before = traces(0);
    write_cut();
    const auto await_import = [&] {
        EXPECT_OK(platform(1).host().run_checked(
            {"sh", "-c", "until pgrep -f '^[^ ]*conmon .* -c '; do sleep 0.01; done"}, kLimit));
    };
    expect_to_fail("web", await_import, 0, fmt::format("exec nft -f {}/cut", directory_));
    expect_it_cost_nothing(**load, before);
}

// Only there are its connections in repair mode.
TEST_F(PodmanNetworksTest, NorDoesOneThatIsCutInTheFreeze) {
    auto load = start_redis(1024);
    ASSERT_OK(load);
    const std::string before = traces(0);
    write_cut();
    const auto cut_in_the_freeze = [&] {
        std::optional<JournalEntry> session;
        ASSERT_TRUE(comes_true([&] {
            session = session_of(platform(0), "web");
            return session && session->worker != 0;
        }));
        TracedWorker worker;
        ASSERT_TRUE(worker.seize(session->worker));
        ASSERT_TRUE(worker.run_until([](const SystemCall& call) {
            return call.number == SYS_setsockopt && call.arguments[1] == IPPROTO_TCP &&
                   call.arguments[2] == TCP_REPAIR;
        }));
        ASSERT_OK(platform(0).host().run_checked({"nft", "-f", directory_ + "/cut"}, kLimit));
    };
    expect_to_fail("web", cut_in_the_freeze, 0, "true");
    expect_it_cost_nothing(**load, before);
}

}  // namespace
}  // namespace ferry::lab
