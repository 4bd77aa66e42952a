#include "container/container.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "container/console.h"
#include "container/limits.h"

namespace ferry::container {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kConfig = R"({
  "ociVersion": "1.0.2-dev",
  "process": {"terminal": false, "user": {"uid": 7, "gid": 8}, "args": ["/bin/server"],
    "env": ["A=b"], "cwd": "/srv", "noNewPrivileges": true, "oomScoreAdj": 10,
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
    "capabilities": {"bounding": ["CAP_KILL"], "ambient": ["CAP_KILL"]}},
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "web",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/data", "type": "none", "source": "/srv/data", "options": ["rbind", "ro"]}],
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "mount"},
                   {"type": "network", "path": "/run/netns/web"}],
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "maskedPaths": ["/proc/keys"]}
})";

constexpr const char* kState = R"({
  "id": "web", "init_process_pid": 4711, "init_process_start": 99,
  "created": "2026-11-27T22:26:03Z",
  "config": {"rootfs": "/b/rootfs", "capabilities": {"Bounding": ["CAP_KILL"]},
    "no_new_privileges": true, "seccomp": {"default_action": 2}, "rlimits": [{"type": 7}],
    "umask": null, "labels": ["bundle=/b", "other=1"], "cgroups": {"Systemd": false}},
  "rootless": false,
  "cgroup_paths": {"": "/sys/fs/cgroup/unified/web", "pids": "/sys/fs/cgroup/pids/web"},
  "external_descriptors": ["/dev/null", "pipe:[1]", "pipe:[1]"]
})";

// Of ids, as a configuration and as runc's state says it.
constexpr const char* kRange = R"([{"containerID": 0, "hostID": 100000, "size": 65536}])";
constexpr const char* kLiveRange = R"([{"container_id": 0, "host_id": 100000, "size": 65536}])";
constexpr const char* kOtherLiveRange =
    R"([{"container_id": 0, "host_id": 300000, "size": 65536}])";

const StreamLinks kHere = {"/dev/null", "/log", "/log"};

// Another document with `member` (a JSON pointer) set to a JSON text.
std::string with(const char* document, const char* member, const char* value) {
    nlohmann::json json = nlohmann::json::parse(document);
    json[nlohmann::json::json_pointer(member)] = nlohmann::json::parse(value);
    return json.dump();
}

Container running() {
    Container container;
    container.state = *parse_state(kState);
    container.config = *parse_config(kConfig);
    container.status = Status::Running;
    return container;
}

TEST(State, IsRead) {
    const auto state = parse_state(kState);
    ASSERT_TRUE(state) << state.error().message();
    EXPECT_EQ(state->id, "web");
    EXPECT_EQ(state->init, Pid{4711});
    EXPECT_EQ(state->init_start, 99u);
    EXPECT_EQ(state->bundle, "/b");
    EXPECT_EQ(state->rootfs, "/b/rootfs");
    EXPECT_EQ(state->cgroup_paths.at(""), "/sys/fs/cgroup/unified/web");
    EXPECT_EQ(state->cgroup_paths.at("pids"), "/sys/fs/cgroup/pids/web");
    EXPECT_EQ(state->streams, (StreamLinks{"/dev/null", "pipe:[1]", "pipe:[1]"}));
}

TEST(State, NonsenseIsNamed) {
    const auto complaint = [](const std::string& text) {
        const auto state = parse_state(text);
        EXPECT_FALSE(state);
        return state ? std::string() : state.error().message();
    };
    EXPECT_THAT(complaint(""), HasSubstr("state.json is no JSON object"));
    EXPECT_THAT(complaint("[1"), HasSubstr("state.json is no JSON object"));
    EXPECT_THAT(complaint("{}"), HasSubstr("names no container"));
    EXPECT_THAT(complaint(with(kState, "/init_process_pid", "\"a\"")),
                HasSubstr("init_process_pid"));
    EXPECT_THAT(complaint(with(kState, "/init_process_pid", "-1")), HasSubstr("init_process_pid"));
    EXPECT_THAT(complaint(with(kState, "/init_process_pid", "4294967296")),
                HasSubstr("init_process_pid"));
    EXPECT_THAT(complaint(with(kState, "/cgroup_paths/pids", "[]")), HasSubstr("\"pids\""));
    EXPECT_THAT(complaint(with(kState, "/config/labels", "[]")), HasSubstr("bundle"));
    EXPECT_THAT(complaint(with(kState, "/config/labels", "[7]")), HasSubstr("labels"));
    EXPECT_THAT(complaint(with(kState, "/config/rootfs", "\"b\"")), HasSubstr("rootfs"));
    EXPECT_THAT(complaint(with(kState, "/config", "7")), HasSubstr("config"));
    EXPECT_THAT(complaint(std::string(5u << 20, ' ')), HasSubstr("bytes"));
}

TEST(State, WhatWasAlteredIsPutBack) {
    std::string created = with(kState, "/config/capabilities", R"({"Bounding": ["CAP_CHOWN"]})");
    created = with(created.c_str(), "/config/seccomp", "null");
    created = with(created.c_str(), "/config/no_new_privileges", "false");
    created = with(created.c_str(), "/config/labels", R"(["bundle=/run/x", "other=1"])");
    created = with(created.c_str(), "/external_descriptors", "[]");
    created = with(created.c_str(), "/init_process_pid", "5");
    created = with(created.c_str(), "/cgroup_paths/pids", R"("/elsewhere")");
    const auto text = with_original_process(created, kState, "/b", kHere);
    ASSERT_TRUE(text) << text.error().message();
    nlohmann::json wanted = nlohmann::json::parse(kState);
    wanted["init_process_pid"] = 5;
    wanted["cgroup_paths"]["pids"] = "/elsewhere";
    wanted["external_descriptors"] = kHere;
    EXPECT_EQ(nlohmann::json::parse(*text), wanted);
}

TEST(State, WhatTheOriginalLacksIsTakenAway) {
    nlohmann::json original = nlohmann::json::parse(kState);
    original["config"].erase("rlimits");
    original["external_descriptors"] = kHere;
    const auto text = with_original_process(kState, original.dump(), "/b", kHere);
    ASSERT_TRUE(text);
    EXPECT_EQ(nlohmann::json::parse(*text), original);
}

TEST(Config, IsRead) {
    const auto config = parse_config(kConfig);
    ASSERT_TRUE(config) << config.error().message();
    EXPECT_EQ(config->rootfs, "rootfs");
    ASSERT_EQ(config->mounts.size(), 2u);
    EXPECT_FALSE(config->mounts[0].is_bind());
    EXPECT_TRUE(config->mounts[1].is_bind());
    EXPECT_EQ(config->find_namespace("network")->path, "/run/netns/web");
    EXPECT_EQ(config->find_namespace("ipc"), nullptr);
    EXPECT_TRUE(config->hooks.empty());
    EXPECT_EQ(config->user_of_host(), 7u);
}

TEST(Config, ItsUserIsMappedLikeItsNamespace) {
    const std::string text = with(kConfig, "/linux/namespaces", R"([{"type": "user"}])");
    const auto user = [&text](const char* ids) {
        const auto config = parse_config(with(text.c_str(), "/linux/uidMappings", ids));
        EXPECT_TRUE(config);
        return config ? config->user_of_host() : std::nullopt;
    };
    EXPECT_EQ(user(R"([{"containerID": 0, "hostID": 100000, "size": 8}])"), 100007u);
    EXPECT_EQ(user(R"([{"containerID": 0, "hostID": 100000, "size": 7}])"), std::nullopt);
}

TEST(Config, NonsenseIsNamed) {
    const auto complaint = [](const std::string& text) {
        const auto config = parse_config(text);
        EXPECT_FALSE(config);
        return config ? std::string() : config.error().message();
    };
    EXPECT_THAT(complaint("nothing"), HasSubstr("config.json is no JSON object"));
    EXPECT_THAT(complaint("{}"), HasSubstr("no root file system"));
    EXPECT_THAT(complaint(with(kConfig, "/mounts", "{}")), HasSubstr("\"mounts\" is not a list"));
    EXPECT_THAT(complaint(with(kConfig, "/mounts/0/type", "1")),
                HasSubstr("\"type\" is not a text"));
    EXPECT_THAT(complaint(with(kConfig, "/mounts/0", "1")), HasSubstr("\"mounts\""));
    EXPECT_THAT(complaint(with(kConfig, "/process", "1")), HasSubstr("\"process\""));
    EXPECT_THAT(complaint(with(kConfig, "/process/user/uid", "4294967295")), HasSubstr("\"uid\""));
    EXPECT_THAT(complaint(with(kConfig, "/hooks", R"({"prestart": 1})")), HasSubstr("prestart"));
}

TEST(Config, OfACreationDiffersInItsProgramOnly) {
    const auto text = config_for_creation(kConfig, {.arguments = {"/proc/self/fd/5", "0"},
                                                    .capabilities = {"CAP_CHOWN"},
                                                    .rootfs = "/b/rootfs"});
    ASSERT_TRUE(text) << text.error().message();
    nlohmann::json altered = nlohmann::json::parse(*text);
    nlohmann::json original = nlohmann::json::parse(kConfig);
    const nlohmann::json process = altered["process"];
    EXPECT_EQ(process["args"], nlohmann::json::parse(R"(["/proc/self/fd/5", "0"])"));
    EXPECT_EQ(process["user"], nlohmann::json::parse(R"({"uid": 0, "gid": 0})"));
    EXPECT_EQ(process["capabilities"]["bounding"], nlohmann::json::parse(R"(["CAP_CHOWN"])"));
    EXPECT_EQ(process["capabilities"].count("ambient"), 0u);
    EXPECT_EQ(process["noNewPrivileges"], false);
    for (const char* gone : {"rlimits", "oomScoreAdj"})
        EXPECT_FALSE(process.contains(gone)) << gone;
    EXPECT_EQ(altered["root"]["path"], "/b/rootfs");
    for (nlohmann::json* json : {&altered, &original}) {
        json->erase("process");
        (*json)["root"].erase("path");
        (*json)["linux"].erase("seccomp");
    }
    EXPECT_EQ(altered, original);
}

TEST(Limits, AreThoseThatWereChangedSince) {
    EXPECT_EQ(*changed_limits(kState, kState), std::nullopt);
    std::string original = with(kState, "/config/cgroups/memory", "-1");
    original = with(original.c_str(), "/config/cgroups/pids_limit", "55");
    original = with(original.c_str(), "/config/cgroups/cpuset_cpus", R"("0-1")");
    const auto changed = changed_limits(kState, original);
    ASSERT_TRUE(changed) << changed.error().message();
    ASSERT_TRUE(*changed);
    const auto resources = nlohmann::json::parse(**changed);
    EXPECT_EQ(resources["memory"]["limit"], -1);
    EXPECT_EQ(resources["pids"]["limit"], 55);
    EXPECT_EQ(resources["cpu"]["cpus"], "0-1");
    EXPECT_EQ(resources["cpu"]["quota"], 0);
    EXPECT_FALSE(changed_limits(kState, with(kState, "/config/cgroups/memory", R"("much")")));
    EXPECT_FALSE(changed_limits(kState, with(kState, "/config/cgroups", "7")));
}

TEST(Terminal, IsWhatIsOnItsConsole) {
    Config config = *parse_config(kConfig);
    const auto index = [&config](const char* console) {
        return index_of_terminal(
            config, *proc::parse_mounts(fmt::format("1 0 0:9 / / rw - overlay o rw\n"
                                                    "2 1 0:7 {} rw,nosuid - devpts d rw\n",
                                                    console)));
    };
    EXPECT_EQ(index("/7 /dev/console").value(), std::nullopt);
    config.terminal = true;
    EXPECT_EQ(index("/7 /dev/console").value(), 7u);
    for (const char* other : {"/7 /dev/other", "/ptmx /dev/console", "/7//deleted /dev/console"}) {
        const auto refused = index(other);
        ASSERT_FALSE(refused) << other;
        EXPECT_THAT(refused.error().message(), HasSubstr("not on its /dev/console any more"));
    }
}

TEST(Refusals, AreByName) {
    const auto refusal = [](const std::string& config) {
        Container container = running();
        container.config = *parse_config(config);
        const auto checked = check_movable(container);
        EXPECT_FALSE(checked) << config;
        return checked ? std::string() : checked.error().message();
    };
    EXPECT_THAT(
        refusal(with(kConfig, "/hooks", R"({"prestart": [{"path": "/x"}], "poststop": []})")),
        HasSubstr("hooks (prestart)"));
    EXPECT_THAT(refusal(with(kConfig, "/linux/namespaces", R"([{"type": "mount"}])")),
                HasSubstr("no pid namespace"));
    EXPECT_THAT(refusal(with(kConfig, "/linux/namespaces/0/path", R"("/proc/1/ns/pid")")),
                HasSubstr("shares the pid namespace /proc/1/ns/pid"));
    EXPECT_THAT(refusal(with(kConfig, "/linux/namespaces/3", R"({"type": "time"})")),
                HasSubstr("time namespace"));
    EXPECT_THAT(refusal(with(kConfig, "/mounts/1/uidMappings", kRange)),
                HasSubstr("/data is mounted with ids of its own"));
    EXPECT_THAT(refusal(with(kConfig, "/linux/seccomp/listenerPath", R"("/run/s")")),
                HasSubstr("listenerPath"));
    EXPECT_THAT(refusal(with(kConfig, "/mounts/0/type", R"("tmpfs")")), HasSubstr("/proc"));

    Container rootless = running();
    rootless.state.rootless = true;
    EXPECT_THAT(check_movable(rootless).error().message(), HasSubstr("rootless"));
    Container stopped = running();
    stopped.status = Status::Paused;
    EXPECT_THAT(check_movable(stopped).error().message(),
                HasSubstr("container \"web\": it is paused"));
    Container systemd = running();
    systemd.state.systemd_cgroup = true;
    EXPECT_THAT(check_movable(systemd).error().message(), HasSubstr("systemd"));
}

constexpr const char* kUserNamespace = R"({"type": "user"})";

TEST(Refusals, OfUserNamespacesAreThoseOfOthersOrWithOtherIds) {
    const auto refused = [](const std::string& config, const char* users) {
        const std::string state = with(with(kState, "/config/uid_mappings", users).c_str(),
                                       "/config/gid_mappings", users);
        return fmt::format("{}",
                           fmt::join(obstacles(*parse_config(config), *parse_state(state)), "; "));
    };
    std::string config = with(kConfig, "/linux/namespaces/3", kUserNamespace);
    const char* other_ids = "its user namespace has other ids than its config.json says";
    EXPECT_EQ(refused(config, "[]"), other_ids) << "without any";
    EXPECT_EQ(refused(config, kLiveRange), other_ids);
    config = with(config.c_str(), "/linux/uidMappings", kRange);
    EXPECT_EQ(refused(config, kLiveRange), other_ids) << "of groups";
    config = with(config.c_str(), "/linux/gidMappings", kRange);
    EXPECT_EQ(refused(config, kLiveRange), "");
    EXPECT_EQ(refused(config, kOtherLiveRange), other_ids);
    EXPECT_EQ(refused(kConfig, kLiveRange), other_ids);
    config = with(config.c_str(), "/linux/namespaces/3/path", R"("/proc/7/ns/user")");
    EXPECT_THAT(refused(config, kLiveRange),
                HasSubstr("shares the user namespace /proc/7/ns/user"));
    EXPECT_FALSE(parse_config(with(kConfig, "/linux/uidMappings", R"([{"hostID": 4294967296}])")));
    EXPECT_FALSE(parse_config(with(kConfig, "/linux/uidMappings", "7")));
}

TEST(Names, ThatLeaveTheDirectoryAreNone) {
    for (const char* good : {"web", "web-1_a.b+c"}) EXPECT_TRUE(Runtime::check_id(good)) << good;
    for (const char* bad : {"", ".", "..", "a/b", "../x", "a b", "a\n"}) {
        EXPECT_FALSE(Runtime::check_id(bad)) << bad;
    }
    EXPECT_FALSE(Runtime::check_id(std::string(1, '\0')));
}

TEST(Descriptions, ComeBackAsTheyWere) {
    const Description description{.id = "web",
                                  .runtime_version = "1.1.5",
                                  .runtime_root = "/run/runc",
                                  .bundle = "/b",
                                  .state = kState,
                                  .config = kConfig,
                                  .mounts = "65 43 0:4 / / rw - tmpfs t rw\n"};
    const std::string text = to_json(description);
    const auto read = description_from_json(text);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(*read, description);
    EXPECT_FALSE(description_from_json(with(text.c_str(), "/mounts", "\"x\"")));
    for (const char* nonsense : {R"("../x")", R"(7)", R"("")"}) {
        EXPECT_FALSE(description_from_json(with(text.c_str(), "/id", nonsense)));
        EXPECT_FALSE(description_from_json(with(text.c_str(), "/state", nonsense)));
        EXPECT_FALSE(description_from_json(with(text.c_str(), "/bundle", nonsense)));
    }
}

}  // namespace
}  // namespace ferry::container
