// A container with a firewall in its network crosses: whoever is in stays in, nobody else gets in.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

// Connections are followed, not port 6379 allowed: whoever is not known is let in only while the
// last rule says so.
constexpr const char* kFirewall = R"(flush ruleset
table inet firewall {
    set friends { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.7 }; }
    counter known { packets 1000000 bytes 1 }
    chain input {
        type filter hook input priority 0; policy drop
        ct state established,related counter name known accept
        ip protocol icmp ip saddr @friends accept
        tcp dport 6379 ct state new %s
    }
    chain output {
        type filter hook output priority 0; policy drop
        ct state established,related accept
    }
}
)";

class ContainerFirewallTest : public ContainerCrossingTest {
  protected:
    std::string in_its_network(std::size_t where, const std::vector<std::string>& command,
                               const std::string& input = {}) {
        std::vector<std::string> arguments = {"nsenter", "-n", "-t",
                                              fmt::format("{}", container_->init_pid())};
        arguments.insert(arguments.end(), command.begin(), command.end());
        const auto out = platform(where).host().run_checked(arguments, 10s, input);
        EXPECT_OK(out);
        return out.value_or("");
    }
    // Clients that are connected when the door closes behind them.
    void start_behind_firewall() {
        auto load = start_redis(16 * 1024);
        ASSERT_OK(load);
        load_ = std::move(*load);
        for (const char* verdict : {"accept", "drop"}) {
            std::string rules = kFirewall;
            rules.replace(rules.find("%s"), 2, verdict);
            in_its_network(0, {"nft", "-f", "-"}, rules);
            std::this_thread::sleep_for(300ms);
        }
        rules_ = in_its_network(0, {"nft", "-s", "list", "ruleset"});
        EXPECT_THAT(rules_, HasSubstr("established"));
    }
    void expect_behind_firewall(std::size_t where) {
        EXPECT_EQ(in_its_network(where, {"nft", "-s", "list", "ruleset"}), rules_);
        EXPECT_THAT(in_its_network(where, {"nft", "list", "counters"}),
                    testing::ContainsRegex("packets 1[0-9]{6} "));
        expect_goes_on(*load_);
        const auto stranger =
            lab_->client().run({"timeout", "1", "redis-cli", "-h", kIp, "ping"}, 5s);
        ASSERT_OK(stranger);
        EXPECT_THAT(stranger->out, Not(HasSubstr("PONG")));
        EXPECT_OK(lab_->client().run_checked({"ping", "-c1", "-W1", kIp}, 5s));
    }
    void expect_nothing_lost() { ferry::lab::expect_nothing_lost(*load_); }
    // load_->verify() asks anew.
    void open_door(std::size_t where) { in_its_network(where, {"nft", "flush", "ruleset"}); }

    std::unique_ptr<Load> load_;
    std::string rules_;
};

class ContainerFirewallMethods : public ContainerFirewallTest,
                                 public testing::WithParamInterface<const char*> {};

TEST_P(ContainerFirewallMethods, CrossesWithItsClientsInside) {
    start_behind_firewall();
    for (const auto& [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
        cross(static_cast<std::size_t>(from), static_cast<std::size_t>(to),
              {"--method", GetParam()});
        expect_behind_firewall(static_cast<std::size_t>(to));
    }
    open_door(0);
    expect_nothing_lost();
}

INSTANTIATE_TEST_SUITE_P(, ContainerFirewallMethods, testing::Values("live", "checkpoint"),
                         [](const auto& one) { return std::string(one.param); });

TEST_F(ContainerFirewallTest, ComesOutOfImageFilesAgain) {
    start_behind_firewall();
    const std::string images = directory_ + "/images";
    std::filesystem::create_directory(images);
    const auto ferry = [&](std::vector<std::string> arguments) {
        const std::vector<std::string> common = {"-D", images, "--tcp-established",
                                                 "--runtime-root", kRuncRoot};
        arguments.insert(arguments.end(), common.begin(), common.end());
        const auto result = platform(0).run_ferry(arguments, 60s);
        ASSERT_OK(result);
        ASSERT_EQ(result->status, 0) << result->err;
    };
    ferry({"dump", "web"});
    ferry({"restore", "--restore-detached"});
    ASSERT_OK(container_->follow_to(platform(0).host()));
    std::this_thread::sleep_for(1s);  // its clients' next attempt
    expect_behind_firewall(0);
    open_door(0);
    expect_nothing_lost();
}

}  // namespace
}  // namespace ferry::lab
