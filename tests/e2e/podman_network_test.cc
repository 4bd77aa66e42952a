// A container on a bridge network of Podman's crosses with its addresses and its connections.
#include "podman_network_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

TEST_F(PodmanNetworkTest, ItsConnectionsGoOnAndPodmanThereKnowsItsNetwork) {
    auto load = start_redis(16 * 1024);
    ASSERT_OK(load);
    const CommandResult moved = migrate();
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    expect_goes_on(**load);
    EXPECT_EQ(listed(0), "");
    EXPECT_EQ(traces(0), "");
    EXPECT_THAT(listed(1), testing::StartsWith(id_ + " web Up"));
    EXPECT_EQ(inspected(1, "IPAddress"), std::string(kIp) + "\n");
    EXPECT_EQ(inspected(1, "MacAddress"), std::string(kMac) + "\n");
    EXPECT_EQ(podman(1, {"port", "web"}).value_or(""), "6379/tcp -> 0.0.0.0:7000\n");
    EXPECT_TRUE(ping(address_on_lan(1), 7000));
    ferry::lab::expect_nothing_lost(**load);
    ASSERT_OK(podman(1, {"stop", "--time", "1", "web"}));
    EXPECT_EQ(traces(1), "");
    ASSERT_OK(podman(1, {"start", "web"}));
    EXPECT_TRUE(comes_true([&] { return ping(kIp, 6379); }));
    EXPECT_EQ(inspected(1, "IPAddress"), std::string(kIp) + "\n");
    ASSERT_OK(podman(1, {"rm", "-f", "-t", "0", "web"}));
    EXPECT_EQ(traces(1), "");
}

TEST_F(PodmanNetworkTest, WhateverItsNetworkLacksThereIsSaidByName) {
    run_container({"/bin/sleep", "1000"}, {"--network", "lan", "--ip", kIp});
    ASSERT_OK(podman(0, {"run", "-d", "--name", "guest", "--network", "container:web",
                         "ferry/test:1", "/bin/sleep", "1000"}));
    const CommandResult shared = migrate();
    EXPECT_NE(shared.status, 0);
    EXPECT_THAT(shared.err + shared.out, HasSubstr("of another container uses its network"));
    ASSERT_OK(podman(0, {"rm", "-f", "-t", "0", "guest"}));
    remove_network(1);
    expect_refused("Podman has no network lan here");
    make_network(1, "10.77.1.0/25");
    expect_refused(
        "Podman's network lan is a bridge lan of 10.77.1.0/25 here and a bridge lan of "
        "10.77.1.0/24 at the source");
    make_network(1, "10.77.1.0/24");
    const auto client = [&](const char* verb) {
        return lab_->client().run_checked(
            {"ip", "addr", verb, std::string(kIp) + "/32", "dev", "eth0"}, 5s);
    };
    ASSERT_OK(client("add"));
    expect_refused("the address 10.77.1.100 is taken");
    ASSERT_OK(client("del"));
    const CommandResult moved = migrate();
    EXPECT_EQ(moved.status, 0) << moved.err << moved.out;
}

TEST_F(PodmanNetworkTest, ABridgeThatIsNotJoinedToTheSourcesIsRefused) {
    for (std::size_t i = 0; i < 2; ++i) {
        make_network(i, "10.78.0.0/24", "alone");
        ASSERT_OK(platform(i).host().run_checked(
            {"ip", "-batch", "-"}, 5s, "link add alone type bridge\nlink set alone up\n"));
    }
    run_container({"/bin/sleep", "1000"}, {"--network", "alone"});
    expect_refused("alone: it is not in the source's network");
}

TEST_F(PodmanNetworkTest, WhoeverIsKilledItsConnectionsGoOnWhereItWas) {
    auto load = start_redis(64 * 1024);
    ASSERT_OK(load);
    for (const std::size_t where : {1u, 0u}) {
        migrate_and_kill_worker(where);
        EXPECT_TRUE(comes_true([&] { return listed(1).empty() && traces(1).empty(); }))
            << listed(1) << traces(1);
        EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
        expect_goes_on(**load);
    }
    const CommandResult moved = ferry(0, {"migrate", "web", "--to", platform(1).address()});
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out << platform(0).agent_log()
                               << platform(1).agent_log();
    EXPECT_THAT(moved.out, HasSubstr("connections through this host's addresses will break"));
    expect_goes_on(**load);
    ASSERT_OK((*load)->stop());
    const auto verified = (*load)->verify();
    ASSERT_OK(verified);
    EXPECT_EQ(verified->lost, 0u);
}

// Packet filters go before devices do where a network namespace ends, and a stack that has its
// addresses without them sends resets to the container's peers.
TEST_F(PodmanNetworkTest, WhatNetavarkMakesForAnImportIsGoneWhenItEnds) {
    const nlohmann::json asked = {
        {"container_id", "abc"},
        {"container_name", "web"},
        {"networks",
         {{"lan", {{"static_ips", {kIp}}, {"static_mac", kMac}, {"interface_name", "eth0"}}}}},
        {"network_info",
         {{"lan", nlohmann::json::parse(*os::read_file(
                      platform(0).host().path("/etc/containers/networks/lan.json")))}}}};
    const auto said = platform(0).host().run_checked(
        {"sh", "-c",
         "real=$(ls /usr/lib*/podman/netavark | head -n 1); mkdir /run/ferry/in && cd "
         "/run/ferry/in && "
         "ln -s \"$1\" netavark && ln -s $real network && $PWD/netavark setup /proc/self/ns/net && "
         "ip -o link show master lan",
         "sh", platform(0).ferry({})[0]},
        kLimit, asked.dump());
    ASSERT_OK(said);
    EXPECT_THAT(*said, HasSubstr(kMac));
    EXPECT_THAT(*said, HasSubstr("eth0"));
    EXPECT_THAT(*said, testing::Not(HasSubstr("veth")));
}

TEST_F(PodmanNetworkTest, ItsConnectionsGoOnThroughImageFiles) {
    auto load = start_redis(4 * 1024);
    ASSERT_OK(load);
    const std::string images = directory_ + "/images";
    std::filesystem::create_directory(images);
    for (const std::size_t to : {std::size_t{0}, std::size_t{1}}) {
        const CommandResult dumped = ferry(0, {"dump", "web", "-D", images, "--tcp-established"});
        ASSERT_EQ(dumped.status, 0) << dumped.err;
        // At once: after a long silence its clients ask again after as long.
        const CommandResult restored =
            ferry(to, {"restore", "web", "-D", images, "--tcp-established", "-d"});
        ASSERT_EQ(restored.status, 0) << restored.err;
        expect_goes_on(**load);
        EXPECT_EQ(inspected(to, "IPAddress"), std::string(kIp) + "\n");
        EXPECT_TRUE(ping(address_on_lan(to), 7000));
    }
    EXPECT_EQ(listed(0), "");
    EXPECT_EQ(traces(0), "");
    ferry::lab::expect_nothing_lost(**load);
    ASSERT_OK(podman(1, {"rm", "-f", "-t", "0", "web"}));
    EXPECT_EQ(traces(1), "");
}

}  // namespace
}  // namespace ferry::lab
