// A bundle and a runtime's directory of a test's own, with one container, gone at its end or ours.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "base/check.h"
#include "container/runtime.h"
#include "os/fd.h"
#include "os/launch.h"
#include "os/sweeper.h"

namespace ferry::container {

template <class Condition>
bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
}

// What a command prints, and its status for a test. Its input is empty.
inline std::string shell(const std::string& command, int wanted = 0) {
    const os::UniqueFd output = *os::memfd_create("output", 0);
    auto child = os::ChildProcess::start({.arguments = {"/bin/sh", "-c", command},
                                          .stdout_fd = output.get(),
                                          .stderr_fd = output.get()});
    CHECK(child.has_value());
    const auto status = child->wait(std::chrono::seconds(60));
    std::string out(static_cast<std::size_t>(os::fstat(output.get())->st_size), '\0');
    CHECK(os::pread_all(output.get(), std::as_writable_bytes(std::span(out)), 0).has_value());
    EXPECT_TRUE(status && *status == wanted) << command << "\n" << out;
    return out;
}

class ContainerLab {
  public:
    ContainerLab() {
        std::string path = "/tmp/cont-lab-XXXXXX";
        CHECK(::mkdtemp(path.data()) != nullptr);
        directory_ = path;
        id = "ferry-test-" + path.substr(path.size() - 6);
        runtime.root = "/run/cont-runc-" + path.substr(path.size() - 6);
        bundle = path + "/bundle";
        for (const char* made : {"usr", "proc", "dev", "sys", "tmp", "run", "etc", "data"}) {
            std::filesystem::create_directories(bundle + "/rootfs/" + made);
        }
        for (const char* merged : {"bin", "lib", "lib64", "sbin"}) {
            std::filesystem::create_symlink(std::string("usr/") + merged,
                                            bundle + "/rootfs/" + merged);
        }
        shell("cd " + bundle + " && runc spec");
        config = nlohmann::json::parse(std::ifstream(bundle + "/config.json"));
        config["process"]["terminal"] = false;
        config["process"]["args"] = {"/bin/sleep", "1000"};
        config["root"]["readonly"] = false;
        config["mounts"].push_back({{"destination", "/usr"},
                                    {"type", "bind"},
                                    {"source", "/usr"},
                                    {"options", {"bind", "ro"}}});
        config["mounts"].push_back(
            {{"destination", "/tmp"}, {"type", "tmpfs"}, {"source", "tmpfs"}});
        write_config();
        auto undoing = os::undo_after_death({.command = runtime.remove_command(id),
                                             .until_gone = runtime.directory_of(id),
                                             .files = {},
                                             .directories = {runtime.root}});
        CHECK(undoing.has_value());
        undoing_ = std::move(*undoing);
    }
    ContainerLab(const ContainerLab&) = delete;
    ContainerLab& operator=(const ContainerLab&) = delete;
    ~ContainerLab() {
        static_cast<void>(runtime.remove(id));
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
        std::filesystem::remove(runtime.root, ignored);
    }

    void write_config() const { std::ofstream(bundle + "/config.json") << config.dump(4); }
    // A user namespace of its own, whose root is this user of the host.
    static constexpr unsigned kFirstUser = 100000;
    void give_users() {
        config["linux"]["namespaces"].push_back({{"type", "user"}});
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = {
            {{"containerID", 0}, {"hostID", kFirstUser}, {"size", 65536}}};
        shell(fmt::format("chmod 755 {0}; chown -R -h {1}:{1} {0}/bundle/rootfs", directory_,
                          kFirstUser));
        write_config();
    }
    // What write_config() would write with this member.
    std::string config_with(const char* key, const nlohmann::json& value) const {
        nlohmann::json changed = config;
        changed[key] = value;
        return changed.dump();
    }
    // In the background, with its streams at /dev/null.
    void start() const {
        runc("create --bundle " + bundle + " " + id);
        runc("start " + id);
    }
    std::string runc(const std::string& arguments, int wanted = 0) const {
        return shell(fmt::format("runc --root {} {}", runtime.root, arguments), wanted);
    }

    std::string id, bundle;
    Runtime runtime;
    nlohmann::json config;

  private:
    std::string directory_;
    os::ChildProcess undoing_;
};

}  // namespace ferry::container
