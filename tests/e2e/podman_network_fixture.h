// Two platforms whose Podmans have the same bridge network, "lan", which the lab's client is in.
#pragma once

#include <nlohmann/json.hpp>
#include <sstream>

#include "going_on.h"
#include "podman_fixture.h"

namespace ferry::lab {

class PodmanNetworkTest : public PodmanTest {
  protected:
    static constexpr const char* kIp = "10.77.1.100";
    static constexpr const char* kMac = "02:fe:77:00:01:64";

    void SetUp() override {
        PodmanTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        for (std::size_t i = 0; i < 2; ++i) {
            ASSERT_OK(add_bridge(platform(i).host(), "lan"));
            ASSERT_OK(platform(i).host().run_checked(
                {"ip", "addr", "add", address_on_lan(i) + "/24", "dev", "lan"}, 5s));
            make_network(i, "10.77.1.0/24");
            load_image(i);
        }
    }

    static std::string address_on_lan(std::size_t i) { return fmt::format("10.77.1.{}", 11 + i); }
    // The bridges are made by hand, and so joined to a network that both hosts are in. `subnets`:
    // one or two, with a blank between; `gateways`: as many, and then the network has a name
    // service.
    void make_network(std::size_t i, const std::string& subnets, const std::string& name = "lan",
                      const std::string& gateways = "") {
        nlohmann::json network = {{"name", name},
                                  {"id", fmt::format("{:064}", name.size())},
                                  {"driver", "bridge"},
                                  {"network_interface", name},
                                  {"created", "2026-01-01T00:00:00Z"},
                                  {"ipv6_enabled", subnets.find(':') != std::string::npos},
                                  {"internal", false},
                                  {"dns_enabled", !gateways.empty()},
                                  {"ipam_options", {{"driver", "host-local"}}}};
        std::istringstream all(subnets), routers(gateways);
        std::string router;
        for (std::string subnet; all >> subnet;) {
            network["subnets"].push_back({{"subnet", subnet}});
            if (routers >> router) network["subnets"].back()["gateway"] = router;
        }
        ASSERT_OK(platform(i).host().run_checked(
            {"sh", "-c", "cat > /etc/containers/networks/$1.json", "sh", name}, 5s,
            network.dump()));
    }
    // A second one, over cables of its own: both platforms are in it, and the client, whose bridge
    // the cables come together at.
    void make_second(const std::string& name, const std::string& subnets,
                     const std::string& gateways = "") {
        const std::string bridge = fmt::format(
            "link add {0} type bridge stp_state 0 forward_delay 0\nlink set {0} up\n", name);
        ASSERT_OK(lab_->client().run_checked(
            {"ip", "-batch", "-"}, 5s,
            bridge + fmt::format("addr add 10.77.2.2/24 dev {0}\n"
                                 "addr add fd00:77:2::2/64 dev {0} nodad\n",
                                 name)));
        for (std::size_t i = 0; i < 2; ++i) {
            const Host& host = platform(i).host();
            ASSERT_OK(host.run_checked({"ip", "-batch", "-"}, 5s, bridge));
            ASSERT_OK(lab::run_checked(
                launch_here({"nsenter", "-n", "-t", std::to_string(lab_->client().init_pid().value),
                             "ip", "link", "add", fmt::format("cable{}", i), "up", "master", name,
                             "type", "veth", "peer", "name", "cable", "netns",
                             std::to_string(host.init_pid().value)}),
                5s));
            ASSERT_OK(host.run_checked({"ip", "link", "set", "cable", "up", "master", name}, 5s));
            make_network(i, subnets, name, gateways);
        }
    }
    void remove_network(std::size_t i) {
        ASSERT_OK(platform(i).host().run_checked({"rm", "/etc/containers/networks/lan.json"}, 5s));
    }

    Result<std::unique_ptr<Load>> start_redis(std::uint64_t keys) {
        run_container(
            {"/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""},
            {"--network", "lan", "--ip", kIp, "--mac-address", kMac, "-p", "7000:6379"});
        EXPECT_TRUE(comes_true([&] { return ping(kIp, 6379); }));
        const RedisAddress address = {kIp, 6379};
        TRY(Load::fill(lab_->client(), address, keys));
        return Load::start(lab_->client(),
                           {.address = address, .keys = keys, .writes_per_second = 500});
    }
    bool ping(const std::string& ip, int port) {
        const auto answer =
            lab_->client().run({"redis-cli", "-h", ip, "-p", std::to_string(port), "ping"}, kLimit);
        return answer && answer->out.find("PONG") != std::string::npos;
    }
    // And of its network.
    std::string traces(std::size_t i) {
        return PodmanTest::traces(i) +
               platform(i)
                   .host()
                   .run_checked(
                       {"sh", "-c",
                        "for b in lan two; do ip -o link show master $b; done 2>/dev/null |"
                        " grep -v -e eth0 -e cable; iptables-save | grep 7000; "
                        "ip6tables-save | grep 7000; true"},
                       kLimit)
                   .value_or("unknown");
    }
    // New connections get to it through this platform's published port, and through it alone.
    void expect_published_at(std::size_t i) {
        EXPECT_TRUE(comes_true([&] { return ping(address_on_lan(i), 7000); }));
        EXPECT_FALSE(ping(address_on_lan(1 - i), 7000));
    }
    std::string inspected(std::size_t i, const std::string& what) {
        return podman(i, {"inspect", "--format", "{{.NetworkSettings.Networks.lan." + what + "}}",
                          "web"})
            .value_or("unknown");
    }
    void expect_refused(const std::string& reason) {
        const CommandResult refused = migrate();
        EXPECT_NE(refused.status, 0);
        EXPECT_THAT(refused.err + refused.out, testing::HasSubstr(reason));
        EXPECT_THAT(listed(0), testing::StartsWith(id_ + " web Up"));
        EXPECT_EQ(listed(1), "");
        EXPECT_EQ(traces(1), "");
    }
};

}  // namespace ferry::lab
