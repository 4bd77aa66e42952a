// The ids that Podman has chosen for a container, told to another Podman.
#include "container/podman_users.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace ferry::container {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr const char* kChosen = R"({"id": "0123abc", "idMappingsOptions": {"HostUIDMapping": false,
  "UIDMap": [{"container_id": 0, "host_id": 500000, "size": 1024}],
  "GIDMap": [{"container_id": 4000, "host_id": 7, "size": 1},
             {"container_id": 0, "host_id": 600000, "size": 1000},
             {"container_id": 1000, "host_id": 700000, "size": 24}],
  "AutoUserNs": true, "AutoUserNsOpts": {"Size": 0, "AdditionalUIDMappings": null}}})";

TEST(ChosenIds, AreAskedForOneByOne) {
    const auto text = with_same_ids(kChosen);
    ASSERT_TRUE(text) << text.error().describe();
    const Json config = Json::parse(*text), before = Json::parse(kChosen)["idMappingsOptions"];
    const Json& options = config["idMappingsOptions"]["AutoUserNsOpts"];
    EXPECT_EQ(options["AdditionalUIDMappings"], before["UIDMap"]);
    EXPECT_EQ(options["AdditionalGIDMappings"], before["GIDMap"]);
    EXPECT_EQ(options["Size"], 1024);
    EXPECT_TRUE(config["idMappingsOptions"]["AutoUserNs"]);
    EXPECT_EQ(with_same_ids(*text).value(), *text);
}

TEST(ChosenIds, ThatSomebodyHasAskedForStayAsTheyAre) {
    for (const char* config :
         {R"({"id": "0123abc"})", R"({"idMappingsOptions": {"AutoUserNs": false,
           "UIDMap": [{"container_id": 0, "host_id": 5, "size": 1}]}})"}) {
        EXPECT_EQ(with_same_ids(config).value(), config);
        EXPECT_TRUE(check_ids(config, {}));
    }
}

TEST(ChosenIds, RefuseNonsense) {
    for (const char* config :
         {"", "[]", R"({"idMappingsOptions": 7})", R"({"idMappingsOptions": {"AutoUserNs": 7}})",
          R"({"idMappingsOptions": {"AutoUserNs": true, "UIDMap": [7]}})",
          R"({"idMappingsOptions": {"AutoUserNs": true, "GIDMap": [{"size": -1}]}})"}) {
        EXPECT_FALSE(with_same_ids(config)) << config;
        EXPECT_FALSE(check_ids(config, {})) << config;
    }
}

class IdsHere : public testing::Test {
  protected:
    void SetUp() override {
        std::string path = std::filesystem::temp_directory_path() / "ferry-ids-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        write("users", "somebody:500000:5000\ncontainers:400000:100500\ncontainers:500500:600\n");
        write("groups", "containers:0:800000\n");
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void write(const std::string& name, const std::string& text) {
        std::ofstream(directory_ / name) << text;
    }
    std::string refusal() {
        const auto checked = check_ids(kChosen, {.containers = directory_ / "containers.json",
                                                 .users = directory_ / "users",
                                                 .groups = directory_ / "groups",
                                                 .storage = directory_ / "storage.conf"});
        return checked ? "" : checked.error().message();
    }

    std::filesystem::path directory_;
};

TEST_F(IdsHere, MayBeTakenWhereTheyArePodmansAndFree) {
    EXPECT_EQ(refusal(), "");
    write("containers.json", R"([{"id": "1", "names": ["other"], "uidmap":
      [{"container_id": 0, "host_id": 501024, "size": 5000}]}, {"id": "2"}])");
    EXPECT_EQ(refusal(), "");
    write("containers.json", R"([{"id": "1", "names": ["other"], "uidmap":
      [{"container_id": 0, "host_id": 501023, "size": 5000}]}])");
    EXPECT_THAT(refusal(), HasSubstr("the user ids 500000 to 501023"));
    EXPECT_THAT(refusal(), HasSubstr("are those of the container other here"));
    write("containers.json",
          R"([{"id": "77", "gidmap": [{"container_id": 0, "host_id": 0, "size": 8}]}])");
    EXPECT_THAT(refusal(), HasSubstr("the group ids 7 to 7"));
    EXPECT_THAT(refusal(), HasSubstr("of the container 77 here"));
    write("containers.json", "{");
    EXPECT_NE(refusal(), "");
}

TEST_F(IdsHere, AreRefusedWhereTheyAreNotPodmans) {
    write("users",
          "containers:400000:100500\ncontainers:500501:600\ncontainers:x:y\ncontainers:\n");
    EXPECT_THAT(refusal(), HasSubstr("are not all among those"));
    EXPECT_THAT(refusal(), HasSubstr("gives to \"containers\" here"));
    write("users", "dock:500000:1024\n");
    write("groups", "dock:0:900000\n");
    EXPECT_NE(refusal(), "");
    write("storage.conf",
          "[storage.options]\n# root-auto-userns-user = \"no\"\n"
          "  root-auto-userns-user = \"dock\"\n");
    EXPECT_EQ(refusal(), "");
    std::filesystem::remove(directory_ / "users");
    EXPECT_NE(refusal(), "");
}

}  // namespace
}  // namespace ferry::container
