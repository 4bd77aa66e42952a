// What lives in the IPC namespace of a container that leaves its host, and its terminals, live and
// through files.
#include "container_victim_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

using ContainerIpcTest = ContainerVictimTest;

class EveryVictim : public ContainerIpcTest, public testing::WithParamInterface<const char*> {};

TEST_P(EveryVictim, FindsEverythingAsItWas) {
    start_victim(GetParam());
    cross_in_every_way();
    expect_pass(0);
}

INSTANTIATE_TEST_SUITE_P(Crosses, EveryVictim,
                         testing::Values("message_queues", "posix_queues", "pty_session",
                                         "segments", "semaphores"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_F(ContainerIpcTest, ItsImagesAreThoseOfCriu) {
    start_victim("segments");
    const CommandResult dumped =
        ferry(0, {"dump", "web", "--runtime-root", kRuncRoot, "-D", kImages, "--leave-running"});
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    const auto decoded = [&](const std::string& name) {
        const auto out = platform(0).host().run(
            {"crit", "decode", "-i", std::string(kImages) + "/" + name}, 60s);
        EXPECT_OK(out);
        EXPECT_EQ(out->status, 0) << name << ": " << out->err;
        return nlohmann::json::parse(out->out);
    };
    EXPECT_EQ(decoded("ipcns-var-3.img")["entries"][0]["shm_ctlmni"], 4096);
    const auto segment = decoded("ipcns-shm-3.img")["entries"][0];
    EXPECT_EQ(segment["desc"]["key"], 0x5e60);
    EXPECT_EQ(segment["size"], 4096 * 4096 - 100);
    EXPECT_EQ(segment["in_pagemaps"], true);
    const std::string pages =
        "pagemap-shmem-" + std::to_string(segment["desc"]["id"].get<int>()) + ".img";
    EXPECT_GT(decoded(pages)["entries"].size(), 1u);
    expect_pass(0);
}

TEST_F(ContainerIpcTest, WhoeverSharesItsNamespaceIsNotLeftBehind) {
    start_container({"sleep", "1000"});
    shell(
        "until pid=$(pgrep -f -x 'sleep 1000'); do sleep 0.05; done; "
        "setsid nsenter --ipc=/proc/$pid/ns/ipc sleep 100 > /dev/null 2>&1 < /dev/null & "
        "until pgrep -f -x 'sleep 100'; do sleep 0.05; done");
    const auto result =
        platform(0).run_ferry({"migrate", "web", "--to", platform(1).address()}, 60s);
    ASSERT_OK(result);
    EXPECT_NE(result->status, 0);
    EXPECT_THAT(result->err, HasSubstr("outside of the container, is in its IPC namespace"));
}

TEST_F(ContainerIpcTest, WhatWouldBeLostIsRefusedByName) {
    // A registration with SIGEV_THREAD, as mq_notify(3) makes it.
    start_container({"sh", "-c", "exec /victims/victim_queue_thread >> /log/out 2>&1"});
    ASSERT_TRUE(says("READY")) << log_text();
    for (const std::vector<std::string>& leaving :
         {std::vector<std::string>{"migrate", "web", "--to", platform(1).address()},
          std::vector<std::string>{"dump", "web", "--runtime-root", kRuncRoot, "-D", kImages}}) {
        const auto result = platform(0).run_ferry(leaving, 60s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0);
        EXPECT_THAT(result->err, HasSubstr("message queue /victim: a thread of"));
    }
    EXPECT_OK(container_->status());
    EXPECT_EQ(container_->status().value_or(""), "running");
}

}  // namespace
}  // namespace ferry::lab
