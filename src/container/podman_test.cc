// What Podman says, and what a peer says that Podman has said.
#include "container/podman.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ferry::container {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kConfig = R"({"id": "0123abc", "name": "web", "rootfsImageID": "77",
  "rootfsImageName": "localhost/web:1", "runtime": "runc", "pod": null,
  "namedVolumes": [{"volumeName": "data", "dest": "/data"}]})";

constexpr const char* kNetworks = R"([{"name": "lan", "driver": "bridge",
  "network_interface": "podman1", "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"},
  {"subnet": "fd00::/64"}], "ipv6_enabled": true}])";

constexpr const char* kStatus = R"({"lan": {"interfaces": {"eth0": {"mac_address": "x"},
  "eth1": {}}}, "wan": {"interfaces": {"eth2": {}}}})";

std::string with(const char* document, const char* member, const char* value) {
    nlohmann::json json = nlohmann::json::parse(document);
    json[nlohmann::json::json_pointer(member)] = nlohmann::json::parse(value);
    return json.dump();
}

TEST(PodmanConfig, IsRead) {
    const auto config = parse_podman_config(kConfig);
    ASSERT_TRUE(config) << config.error().describe();
    EXPECT_EQ(config->id, "0123abc");
    EXPECT_EQ(config->image, "localhost/web:1");
    EXPECT_THAT(config->volumes, ElementsAre("data"));
    EXPECT_THAT(config->obstacles, IsEmpty());
    EXPECT_FALSE(config->publishes_ports);
    EXPECT_TRUE(parse_podman_config(with(kConfig, "/newPortMappings", R"([{"host_port": 80}])"))
                    ->publishes_ports);
}

TEST(PodmanConfig, NamesWhatIsNotCarried) {
    const std::pair<const char*, const char*> changes[] = {{"/rootfsImageID", R"("")"},
                                                           {"/pod", R"("p")"},
                                                           {"/Dependencies", R"(["1"])"},
                                                           {"/runtime", R"("crun")"}};
    for (const auto& [member, value] : changes) {
        const auto config = parse_podman_config(with(kConfig, member, value));
        ASSERT_TRUE(config) << config.error().describe();
        EXPECT_EQ(config->obstacles.size(), 1u) << member;
    }
}

TEST(PodmanConfig, RefusesNonsense) {
    EXPECT_FALSE(parse_podman_config(""));
    EXPECT_FALSE(parse_podman_config("[]"));
    EXPECT_FALSE(parse_podman_config("{}"));
    const std::pair<const char*, const char*> changes[] = {
        {"/id", "7"},
        {"/id", R"("a b")"},
        {"/name", R"("../x")"},
        {"/namedVolumes", "{}"},
        {"/namedVolumes", "[1]"},
        {"/namedVolumes/0/volumeName", R"("$x")"},
        {"/runtime", "[]"}};
    for (const auto& [member, value] : changes) {
        EXPECT_FALSE(parse_podman_config(with(kConfig, member, value))) << member << " " << value;
    }
}

TEST(PodmanNetworks, AreReadAndWritten) {
    const auto networks = parse_podman_networks(kNetworks);
    ASSERT_TRUE(networks) << networks.error().describe();
    ASSERT_EQ(networks->size(), 1u);
    EXPECT_EQ(networks->front().bridge, "podman1");
    EXPECT_THAT(networks->front().subnets, ElementsAre("10.89.0.0/24", "fd00::/64"));
    EXPECT_EQ(parse_podman_networks(to_json(*networks)), *networks);
    EXPECT_TRUE(compare_networks(*networks, *networks));
    EXPECT_THAT(networks->front().name_servers, IsEmpty());
    const auto named = parse_podman_networks(with(kNetworks, "/0/dns_enabled", "true"));
    ASSERT_TRUE(named) << named.error().describe();
    EXPECT_THAT(named->front().name_servers, ElementsAre("10.89.0.1"));
    EXPECT_EQ(parse_podman_networks(to_json(*named)), *named);
    const auto compared = compare_networks(*networks, *named);
    ASSERT_FALSE(compared);
    EXPECT_THAT(compared.error().message(), HasSubstr("with names at 10.89.0.1 at the source"));
}

TEST(PodmanNetworks, ThatDifferAreRefusedByName) {
    const auto ours = parse_podman_networks(kNetworks).value();
    for (const char* member : {"/0/driver", "/0/network_interface", "/0/subnets/0/subnet"}) {
        const auto theirs = parse_podman_networks(with(kNetworks, member, R"("other")"));
        ASSERT_TRUE(theirs);
        const auto compared = compare_networks(ours, *theirs);
        ASSERT_FALSE(compared) << member;
        EXPECT_THAT(compared.error().message(), HasSubstr("Podman's network lan is a bridge"));
        EXPECT_THAT(compared.error().message(), HasSubstr("other"));
    }
    EXPECT_FALSE(compare_networks({}, ours));
}

TEST(PodmanNetworks, RefuseNonsense) {
    for (const char* text : {"", "{}", "7", "[7]", R"([{"name": 7}])", R"([{"subnets": [1]}])",
                             R"([{"subnets": [{"subnet": []}]}])", "[]}, \"x\": {"}) {
        EXPECT_FALSE(parse_podman_networks(text)) << text;
    }
}

TEST(NetworkStatus, SaysWhereTheContainerIsPluggedIn) {
    const auto plugs = parse_network_status(kStatus);
    ASSERT_TRUE(plugs) << plugs.error().describe();
    EXPECT_THAT(*plugs, ElementsAre(PodmanPlug{.network = "lan", .devices = {"eth0", "eth1"}},
                                    PodmanPlug{.network = "wan", .devices = {"eth2"}}));
    EXPECT_EQ(device_names(*plugs), "eth0 eth1 eth2");
    for (const char* nothing : {"", "null", "{}"}) {
        EXPECT_THAT(parse_network_status(nothing).value(), IsEmpty());
    }
}

// The names get into a shell's words.
TEST(NetworkStatus, RefusesNonsense) {
    for (const char* text :
         {"[]", "7", R"({"lan": 7})", R"({"lan": {"interfaces": []}})", R"({"a b": {}})",
          R"({"lan": {"interfaces": {"$x": {}}}})", R"({"lan": {"interfaces": {"": {}}}})"}) {
        EXPECT_FALSE(parse_network_status(text)) << text;
    }
    EXPECT_EQ(device_names({{.network = "lan", .devices = {"e;f", "eth0"}}}), "eth0");
}

TEST(PodmanRecord, ComesBackAsItWasAndRefusesNonsense) {
    const PodmanRecord record{.version = "4.3.1",
                              .config = kConfig,
                              .spec = "{}",
                              .network = kStatus,
                              .log = "/log",
                              .networks = parse_podman_networks(kNetworks).value()};
    const std::string text = to_json(record);
    const auto back = podman_record_from_json(text);
    ASSERT_TRUE(back) << back.error().describe();
    EXPECT_EQ(*back, record);
    const std::pair<const char*, const char*> changes[] = {{"/version", "7"},
                                                           {"/config", R"("{}")"},
                                                           {"/network", R"("[]")"},
                                                           {"/networks", R"("7")"}};
    for (const auto& [member, value] : changes) {
        EXPECT_FALSE(podman_record_from_json(with(text.c_str(), member, value))) << member;
    }
}

}  // namespace
}  // namespace ferry::container
