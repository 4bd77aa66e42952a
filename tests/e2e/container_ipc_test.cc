// What lives in the IPC namespace of a container that leaves its host, and its terminals, live and
// through files.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;

class ContainerIpcTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        shell("mkdir -p " + std::string(kImages));
        std::filesystem::create_directory(directory_ + "/log");
        more_mounts_.push_back({{"destination", "/victims"},
                                {"type", "bind"},
                                {"source", FERRY_VICTIM_DIRECTORY},
                                {"options", {"bind", "ro"}}});
        more_mounts_.push_back({{"destination", "/log"},
                                {"type", "bind"},
                                {"source", directory_ + "/log"},
                                {"options", {"bind", "rw"}}});
    }
    // A self-checking program as the container's first process.
    void start_victim(const std::string& name) {
        start_container({"sh", "-c", "exec /victims/victim_" + name + " >> /log/out 2>&1"});
        ASSERT_TRUE(says("READY")) << log_text();
    }
    [[nodiscard]] std::string log_path() const { return directory_ + "/log/out"; }
    [[nodiscard]] std::string log_text() const {
        return os::read_file(log_path()).value_or("nothing");
    }
    [[nodiscard]] bool says(const std::string& word) const {
        for (int attempt = 0; attempt < 200; ++attempt) {
            const std::string text = log_text();
            if (text.find(word) != std::string::npos) return true;
            if (text.find("FAIL") != std::string::npos) return false;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
    void cross_through_files(std::size_t from, std::size_t to) {
        const CommandResult dumped =
            ferry(from, {"dump", "web", "--runtime-root", kRuncRoot, "-D", kImages});
        ASSERT_EQ(dumped.status, 0) << dumped.err;
        const CommandResult restored = ferry(to, restore());
        ASSERT_EQ(restored.status, 0) << restored.err;
        ASSERT_OK(container_->follow_to(platform(to).host()));
    }
    void expect_pass(std::size_t where) {
        ASSERT_OK(runc_checked(platform(where).host(), {"kill", "web", "TERM"}, 10s));
        EXPECT_TRUE(says("PASS")) << log_text();
    }
};

class EveryVictim : public ContainerIpcTest, public testing::WithParamInterface<const char*> {};

TEST_P(EveryVictim, FindsEverythingAsItWas) {
    start_victim(GetParam());
    cross(0, 1);
    cross(1, 0);
    cross_through_files(0, 1);
    cross(1, 0, {"--method", "checkpoint"});
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
        "pid=$(pgrep -f -x 'sleep 1000'); "
        "setsid nsenter --ipc=/proc/$pid/ns/ipc sleep 100 > /dev/null 2>&1 < /dev/null & "
        "sleep 0.3");
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
