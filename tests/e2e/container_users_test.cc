// A container with a user namespace of its own leaves its host, live and through files.
#include <poll.h>
#include <sys/stat.h>

#include "container_victim_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class ContainerUsersTest : public ContainerVictimTest {
  protected:
    ContainerUsersTest() {
        own_users_ = true;
        more_mounts_.push_back({{"destination", "/tmp"},
                                {"type", "tmpfs"},
                                {"source", "tmpfs"},
                                {"options", {"mode=1777"}}});
    }
    std::string inside(std::size_t where, const std::string& script) {
        const auto out =
            runc_checked(platform(where).host(), {"exec", "web", "sh", "-c", script}, 10s);
        EXPECT_OK(out);
        return out.value_or("");
    }
    // Until a script in the container says yes.
    void await(const std::string& script) {
        for (int i = 0; i < 200; ++i) {
            const auto said = runc_checked(platform(0).host(),
                                           {"exec", "web", "sh", "-c", script + "; true"}, 10s);
            if (said && said->find("yes") != std::string::npos) return;
            std::this_thread::sleep_for(50ms);
        }
        FAIL() << script;
    }
    // By either way, and it runs on.
    void expect_refused(const std::string& reason) {
        for (const std::vector<std::string>& leaving :
             {std::vector<std::string>{"migrate", "web", "--to", platform(1).address()},
              std::vector<std::string>{"dump", "web", "--runtime-root", kRuncRoot, "-D",
                                       kImages}}) {
            const auto result = platform(0).run_ferry(leaving, 60s);
            ASSERT_OK(result);
            EXPECT_NE(result->status, 0);
            EXPECT_THAT(result->err, HasSubstr(reason));
        }
        EXPECT_EQ(container_->status().value_or(""), "running");
    }
};

TEST_F(ContainerUsersTest, RedisCrossesThereAndBackAndItsClientsGoOn) {
    auto load = start_redis(16 * 1024);
    ASSERT_OK(load);
    std::this_thread::sleep_for(300ms);
    cross(0, 1);
    EXPECT_EQ((*load)->failure(), std::nullopt);
    EXPECT_THAT(inside(1, "redis-cli ping; cat /proc/1/uid_map"),
                testing::AllOf(HasSubstr("PONG"), HasSubstr(std::to_string(kFirstUser))));
    cross(1, 0);
    EXPECT_EQ((*load)->failure(), std::nullopt);
    ferry::lab::expect_nothing_lost(**load);
    ASSERT_OK(container_->stop(10s));
}

TEST_F(ContainerUsersTest, WhatIsInItsTmpfsMountsKeepsItsOwners) {
    start_container({"sleep", "1000"});
    inside(0,
           "cd /dev/shm; mkdir -m 700 d; echo kept > d/file; ln -s d/file link; mkfifo fifo; "
           "ln d/file again; chown 33:44 d/file; chown 7 d; chown -h 5 link");
    const std::string look =
        "find /dev /dev/shm -xdev ! -type c ! -path /dev/pts ! -path /dev/mqueue "
        "-printf '%p %y %m %U %G %s %T@ %n %l\\n' | sort; cat /dev/shm/again";
    const std::string before = inside(0, look);
    EXPECT_THAT(before, HasSubstr("/dev/shm/d/file f 644 33 44 5"));
    cross(0, 1);
    EXPECT_EQ(inside(1, look), before);
}

TEST_F(ContainerUsersTest, FilesCrossWithTheOwnersThatTheyHaveOnDisk) {
    separate_storage();
    start_container({"sh", "-c", "echo kept > /data/own; chown 33:44 /data/own; exec sleep 1000"});
    const std::string look = "stat -c '%n %u %g %a' / /data /data/own; cat /data/own";
    await("grep -q kept /data/own && [ $(stat -c %u /data/own) = 33 ] && echo yes");
    const std::string before = inside(0, look);
    EXPECT_THAT(before, HasSubstr("/data/own 33 44"));
    cross(0, 1);
    EXPECT_EQ(inside(1, look), before);
}

TEST_F(ContainerUsersTest, WhoeverItIsMayOpenItsOutputAgain) {
    user_ = 33;
    auto logger = os::pipe2(0);
    ASSERT_OK(logger);
    // By whoever calls the runtime: what is root's of the host a namespace's root cannot give away.
    ASSERT_OK(os::fchown(logger->second.get(), kFirstUser + user_, kFirstUser));
    start_container({"sh", "-c", "while :; do echo told >> /dev/stdout; sleep 0.1; done"},
                    logger->second.get());
    pollfd told = {.fd = logger->first.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&told, 1, 20000), 1);
    const std::string output = directory_ + "/output";
    cross(0, 1, {"--output", output});
    for (int i = 0; i < 200 && os::read_file(output).value_or("").empty(); ++i) {
        std::this_thread::sleep_for(50ms);
    }
    EXPECT_THAT(os::read_file(output).value_or("no file"), HasSubstr("told"));
    struct stat status = {};
    ASSERT_EQ(::stat(output.c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, kFirstUser + user_);
}

class InAUserNamespace : public ContainerUsersTest,
                         public testing::WithParamInterface<const char*> {};

TEST_P(InAUserNamespace, EverythingIsAsItWas) {
    start_victim(GetParam());
    cross_in_every_way();
    expect_pass(0);
}

INSTANTIATE_TEST_SUITE_P(Victims, InAUserNamespace,
                         testing::Values("credentials", "file_locks", "ghost_files",
                                         "ghost_mappings", "multicast", "memfd_program",
                                         "memfd_state", "message_queues", "pidfds",
                                         "pidfds_of_threads", "posix_queues", "pty_pair",
                                         "pty_session", "segments", "semaphores", "task_attributes",
                                         "tcp_loopback", "unix_listeners", "unix_pair",
                                         "user_namespace"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_F(ContainerUsersTest, ANamespaceMadeInsideIsRefusedByName) {
    start_container({"sh", "-c", "unshare --user sleep 1000 & wait"});
    await(
        "for p in /proc/[0-9]*; do user=$(readlink $p/ns/user) || continue; "
        "[ $user = $(readlink /proc/1/ns/user) ] || echo yes; done");
    expect_refused("is in another user namespace than the container's first process");
}

TEST_F(ContainerUsersTest, ANamespaceMadeInsideByItsFirstProcessIsRefusedByName) {
    start_container({"unshare", "--user", "sleep", "1000"});
    const std::string ids = fmt::format("/proc/{}/uid_map", container_->init_pid());
    for (int i = 0; i < 200; ++i) {
        const auto mapped = platform(0).host().run({"cat", ids}, 5s);
        if (mapped && mapped->out.empty()) break;  // nobody has given it any
        std::this_thread::sleep_for(50ms);
    }
    expect_refused("is in a user namespace that was made inside of the container");
}

TEST_F(ContainerUsersTest, OtherIdsInItsConfigurationAreRefusedByName) {
    start_container({"sleep", "1000"});
    const std::string path = storage() + "/web/config.json";
    auto config = nlohmann::json::parse(std::ifstream(path));
    config["linux"]["uidMappings"][0]["hostID"] = 300000;
    std::ofstream(path) << config.dump(2);
    expect_refused("other ids than its config.json says");
}

}  // namespace
}  // namespace ferry::lab
