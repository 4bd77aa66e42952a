// Two platforms with a bridge each, between which a container under runc crosses, "web". Both see
// its bundle; its files lie where both see them, or on storage of each platform's own.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fixture.h"
#include "lab/container.h"

namespace ferry::lab {

class ContainerCrossingTest : public TwoPlatformsTest {
  protected:
    static constexpr const char* kIp = "10.77.1.100";

    void SetUp() override {
        TwoPlatformsTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        std::string path = "/var/tmp/ferry-e2e-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        for (std::size_t i = 0; i < 2; ++i) {
            ASSERT_OK(mount_cgroups(platform(i).host()));
            ASSERT_OK(add_bridge(platform(i).host(), "lan"));
        }
    }

    void TearDown() override {
        container_.reset();
        lab_.reset();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    // Where containers lie on both platforms.
    [[nodiscard]] std::string storage() const { return directory_ + "/srv"; }
    // Each platform gets storage of its own: what is at the same place is not the same.
    void separate_storage() {
        std::filesystem::create_directory(storage());
        for (std::size_t i = 0; i < 2; ++i) {
            std::filesystem::create_directory(own(i));
            ASSERT_OK(platform(i).host().run_checked({"mount", "--bind", own(i), storage()}, 5s));
        }
    }
    // A platform's, from outside.
    [[nodiscard]] std::string own(std::size_t i, const std::string& path = {}) const {
        return directory_ + "/own" + std::to_string(i) + path;
    }

    // A bundle of the programs of this machine.
    void start_container(const std::vector<std::string>& arguments, int stdout_fd = -1,
                         int stderr_fd = -1) {
        container_ = make_container({.name = "web",
                                     .bundle = {},
                                     .directory = {},
                                     .bridge = {},
                                     .address = "10.77.1.100/24",
                                     .mac = "02:fe:77:00:01:64",
                                     .stdout_fd = stdout_fd,
                                     .stderr_fd = stderr_fd,
                                     .console_socket = console_socket_},
                                    arguments);
        ASSERT_NE(container_, nullptr);
    }

    // Any other; where it lies and what it is plugged into is filled in. Null: it has failed.
    std::unique_ptr<Container> make_container(ContainerPlan plan,
                                              const std::vector<std::string>& arguments) {
        plan.bundle = directory_ + "/bundle-" + plan.name;
        plan.directory = storage() + "/" + plan.name;
        plan.shared_storage = !on_overlay_;
        plan.bridge = "lan";
        const std::string& bundle = plan.bundle;
        for (const char* made : {"usr", "proc", "dev", "sys", "tmp", "run", "etc", "data"}) {
            std::filesystem::create_directories(bundle + "/rootfs/" + made);
        }
        for (const char* merged : {"bin", "lib", "lib64", "sbin"}) {
            std::filesystem::create_symlink(std::string("usr/") + merged,
                                            bundle + "/rootfs/" + merged);
        }
        EXPECT_OK(platform(0).host().run_checked({"runc", "spec", "--bundle", bundle}, 10s));
        auto config = nlohmann::json::parse(std::ifstream(bundle + "/config.json"));
        config["process"]["terminal"] = !plan.console_socket.empty();
        config["process"]["args"] = arguments;
        config["process"]["cwd"] = "/data";
        config["process"]["user"]["uid"] = user_;
        config["root"]["readonly"] = false;
        for (const auto& mount : more_mounts_) config["mounts"].push_back(mount);
        config["mounts"].push_back({{"destination", "/usr"},
                                    {"type", "bind"},
                                    {"source", "/usr"},
                                    {"options", {"bind", "ro"}}});
        if (own_users_) give_users(config, bundle);
        std::ofstream(bundle + "/config.json") << config.dump(4);
        auto container = Container::start(platform(0).host(), plan);
        EXPECT_OK(container);
        return container ? std::move(*container) : nullptr;
    }

    void cross(std::size_t from, std::size_t to, const std::vector<std::string>& options = {}) {
        std::vector<std::string> arguments = {"migrate", "web", "--to", platform(to).address(),
                                              "--json"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        const auto result = platform(from).run_ferry(arguments, 60s);
        ASSERT_OK(result);
        ASSERT_EQ(result->status, 0) << result->err << result->out << "\n"
                                     << platform(from).agent_log() << platform(to).agent_log();
        ASSERT_OK(container_->follow_to(platform(to).host()));
    }

    // Redis in the container, and clients that write to it.
    Result<std::unique_ptr<Load>> start_redis(std::uint64_t keys, double writes_per_second = 2000) {
        start_container({"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save",
                         "", "--logfile", "/data/log"});
        const RedisAddress address = {kIp, 6379};
        const auto pong = [&] {
            const auto answer = lab_->client().run({"redis-cli", "-h", kIp, "ping"}, 5s);
            return answer && answer->out.find("PONG") != std::string::npos;
        };
        for (int attempt = 0; attempt < 100 && !pong(); ++attempt) {
            std::this_thread::sleep_for(50ms);
        }
        TRY(Load::fill(lab_->client(), address, keys));
        return Load::start(
            lab_->client(),
            {.address = address, .keys = keys, .writes_per_second = writes_per_second});
    }

    // What platform 2 has of the container, by its runtime and its bridge.
    std::string traces() {
        const auto list = runc(platform(1).host(), {"list", "--quiet"}, 10s);
        const auto links =
            platform(1).host().run({"ip", "-o", "link", "show", "master", "lan"}, 5s);
        if (!list || !links) return "unknown";
        return list->out + (links->out.find("eth0") == links->out.rfind("eth0") ? "" : links->out);
    }

    // A user namespace, in which root may do what becomes of root with fewer rights.
    void give_users(nlohmann::json& config, const std::string& bundle) {
        const nlohmann::json ids = {{{"containerID", 0}, {"hostID", kFirstUser}, {"size", kUsers}}};
        config["linux"]["namespaces"].push_back({{"type", "user"}});
        config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = ids;
        for (const char* set : {"bounding", "effective", "permitted"}) {
            for (const char* capability : {"CAP_CHOWN", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID",
                                           "CAP_SETPCAP", "CAP_DAC_OVERRIDE"}) {
                config["process"]["capabilities"][set].push_back(capability);
            }
        }
        shell(
            fmt::format("chmod 755 {0}; chmod 1777 {2}/rootfs/tmp; chown -R -h {1}:{1} {2}/rootfs; "
                        "if [ -e {0}/log ]; then chown {1} {0}/log; fi",
                        directory_, kFirstUser, bundle));
    }

    static constexpr unsigned kFirstUser = 200000, kUsers = 65536;
    std::string directory_;
    std::vector<nlohmann::json> more_mounts_;
    bool own_users_ = false;
    unsigned user_ = 0;           // who its first program is
    bool on_overlay_ = false;     // its root file system
    std::string console_socket_;  // of a container with a terminal
    std::unique_ptr<Container> container_;
};

}  // namespace ferry::lab
