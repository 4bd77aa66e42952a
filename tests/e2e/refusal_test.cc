// What cannot be done is refused with one line, before anything is touched.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <filesystem>

#include "fixture.h"
#include "lab/container.h"
#include "os/process.h"

namespace ferry::lab {
namespace {

constexpr const char* kPeer = "10.77.0.12";

class RefusalTest : public TwoPlatformsTest {
  protected:
    void SetUp() override {
        TwoPlatformsTest::SetUp();
        if (!IsSkipped() && !HasFatalFailure()) start(8);
    }
    void TearDown() override {
        if (lab_ && !IsSkipped() && !HasFatalFailure()) expect_unharmed();
    }
    // The service's pid as this process sees it.
    Pid service_from_outside() {
        for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
            const auto status = os::read_file(entry.path().string() + "/status");
            if (!status || status->find("Name:\tredis-server") != 0) continue;
            // "NSpid:" ends with the pid in the innermost namespace.
            const std::size_t at = status->find("NSpid:");
            const std::string line = status->substr(at, status->find('\n', at) - at);
            const std::string init =
                os::readlinkat(os::kCwd, entry.path().string() + "/ns/pid").value_or("");
            const std::string ours =
                os::readlinkat(os::kCwd, platform(0).host().path("/proc/1/ns/pid")).value_or("-");
            if (init == ours && line.ends_with("\t" + service_pid())) {
                return Pid{std::stoi(entry.path().filename())};
            }
        }
        return Pid{};
    }
};

TEST_F(RefusalTest, APidThatIsGone) {
    expect_refused({"migrate", "999999", "--to", kPeer}, "999999");
    expect_refused({"dump", "-t", "999999", "-D", "/run/lab"}, "999999");
}

TEST_F(RefusalTest, AnUnknownName) {
    expect_refused({"migrate", "no-such-service", "--to", kPeer}, "no-such-service");
}

TEST_F(RefusalTest, AContainerOfPodmanThatHasNoImage) {
    Host& host = platform(0).host();
    const std::string storage = "/run/lab/podman";
    ASSERT_OK(mount_cgroups(host));
    ASSERT_OK(host.run_checked({"mkdir", "-p", storage + "/rootfs/usr"}, 5s));
    for (const char* merged : {"bin", "lib", "lib64"}) {
        ASSERT_OK(host.run_checked(
            {"ln", "-s", std::string("usr/") + merged, storage + "/rootfs/" + merged}, 5s));
    }
    const auto podman = [&](std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(),
                         {"podman", "--root", storage + "/root", "--runroot", storage + "/run",
                          "--tmpdir", storage + "/tmp", "--cgroup-manager=cgroupfs",
                          "--storage-driver=vfs", "--events-backend=file", "--runtime=runc"});
        return host.run_checked(arguments, 30s);
    };
    ASSERT_OK(podman({"run", "-d", "--network=none", "--ulimit=nofile=1024:1024",
                      "--ulimit=nproc=1000:1000", "--name=monitored", "-v=/usr:/usr:ro", "--rootfs",
                      storage + "/rootfs", "sleep", "1000"}));
    auto id = podman({"ps", "--quiet"});
    ASSERT_OK(id);
    id->erase(id->find_last_not_of('\n') + 1);
    remember();  // with what Podman keeps
    expect_refused({"migrate", "monitored", "--to", kPeer}, "made of a directory (--rootfs)");
    expect_refused({"migrate", *id, "--to", kPeer}, "made of a directory (--rootfs)");
    const auto listed = podman({"ps", "--format={{.Names}} {{.Status}}"});
    ASSERT_OK(listed);
    EXPECT_THAT(*listed, testing::HasSubstr("monitored Up"));
}

TEST_F(RefusalTest, FerrysOwnAgent) {
    const auto agents = processes_named(platform(0).host(), "ferryd");
    ASSERT_OK(agents);
    ASSERT_FALSE(agents->empty());
    const std::string pid = std::to_string(agents->front().value);
    expect_refused({"migrate", pid, "--to", kPeer}, "agent itself");
}

TEST_F(RefusalTest, TheFirstProcessOfTheNamespaceWhichIsFerrysAncestor) {
    expect_refused({"dump", "-t", "1", "-D", "/run/lab"}, "Ferry itself");
}

TEST_F(RefusalTest, AKernelThread) {
    // Kernel threads are seen in the first pid namespace only.
    const auto status = os::read_file("/proc/2/status");
    if (!status || status->find("kthreadd") == std::string::npos)
        GTEST_SKIP() << "not visible here";
    os::Launch launch;
    launch.arguments = {*program_directory() + "/ferry", "dump", "-t", "2", "-D", "/tmp"};
    const auto result = run(launch, 20s);
    ASSERT_OK(result);
    EXPECT_NE(result->status, 0);
    EXPECT_THAT(result->err, testing::HasSubstr("kernel thread"));
}

TEST_F(RefusalTest, AProcessThatAnotherTracerHolds) {
    const Pid outside = service_from_outside();
    ASSERT_GT(outside.value, 0);
    ASSERT_EQ(::ptrace(PTRACE_SEIZE, outside.value, nullptr, nullptr), 0);
    expect_refused({"migrate", service_pid(), "--to", kPeer}, "trace");
    expect_refused({"dump", "-t", service_pid(), "-D", "/run/lab", "--tcp-established"}, "trace");
    // Detaching needs a stop.
    ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, outside.value, nullptr, nullptr), 0);
    ::waitpid(outside.value, nullptr, __WALL);
    ASSERT_EQ(::ptrace(PTRACE_DETACH, outside.value, nullptr, nullptr), 0);
}

TEST_F(RefusalTest, ADowntimeThatCannotBeKeptWhereThatWasNotToBeAccepted) {
    expect_refused({"migrate", service_pid(), "--to", kPeer, "--max-downtime", "1",
                    "--on-no-convergence", "abort"},
                   "--max-downtime of 1 ms cannot be kept");
    expect_unharmed();
}

TEST_F(RefusalTest, AnAgentThatIsNotThere) {
    expect_refused({"migrate", service_pid(), "--to", "10.77.0.12:9"}, "10.77.0.12:9");
    expect_refused({"migrate", service_pid(), "--to", "10.77.0.99"}, "10.77.0.99");
    expect_refused({"migrate", service_pid(), "--to", "no.such.host.invalid"},
                   "no.such.host.invalid");
}

TEST_F(RefusalTest, APeerThatSpeaksSomethingElse) {
    Host& two = platform(1).host();
    auto other =
        os::ChildProcess::start(two.launch({"redis-server", "--bind", kPeer, "--port", "7000",
                                            "--save", "", "--protected-mode", "no"}));
    ASSERT_OK(other);
    std::string answer;
    for (int i = 0; i < 200 && !answer.starts_with("PONG"); ++i) {
        std::this_thread::sleep_for(50ms);
        answer = two.run({"redis-cli", "-h", kPeer, "-p", "7000", "ping"}, 10s)->out;
    }
    expect_refused({"migrate", service_pid(), "--to", "10.77.0.12:7000"}, "10.77.0.12:7000");
    ASSERT_OK(other->send_signal(SIGTERM));
    ASSERT_OK(other->wait(10s));
}

TEST_F(RefusalTest, AnAgentWithTheKeysOfAForeignAuthority) {
    const std::string ferry = *program_directory() + "/ferry";
    Host& two = platform(1).host();
    const std::string keys = "/run/ferry/foreign";
    ASSERT_OK(two.run_checked({ferry, "pki", "init", "--dir", keys}, 20s));
    ASSERT_OK(
        two.run_checked({ferry, "pki", "issue", "platform2", "--also", kPeer, "--dir", keys}, 20s));
    os::Launch launch =
        two.launch({*program_directory() + "/ferryd", "--name", "platform2", "--listen",
                    "10.77.0.12:7500", "--pki-dir", keys, "--socket", "/run/ferry/foreign.sock",
                    "--state-dir", "/run/ferry/foreign-state"});
    auto foreign = os::ChildProcess::start(launch);
    ASSERT_OK(foreign);
    for (int i = 0; i < 200 && !std::filesystem::exists(two.path("/run/ferry/foreign.sock")); ++i) {
        std::this_thread::sleep_for(50ms);
    }
    expect_refused({"migrate", service_pid(), "--to", "10.77.0.12:7500"}, "certificate");
    ASSERT_OK(foreign->send_signal(SIGTERM));
    ASSERT_OK(foreign->wait(10s));
    ASSERT_OK(two.run_checked({"sh", "-c", "rm -rf /run/ferry/foreign*"}, 10s));
}

TEST_F(RefusalTest, ACallerWithoutACertificate) {
    // The peer accepts nobody who cannot show one; it must go on serving those who can.
    const auto answer = platform(0).host().run(
        {"sh", "-c",
         "printf 'GET / HTTP/1.1\\r\\n\\r\\n' | timeout 5 openssl s_client -quiet "
         "-connect 10.77.0.12:7411"},
        20s);
    ASSERT_OK(answer);
    EXPECT_NE(answer->status, 0);
    EXPECT_EQ(answer->out, "");
    const auto status = platform(1).run_ferry({"status"}, 20s);
    ASSERT_OK(status);
    EXPECT_EQ(status->status, 0) << status->err;
}

}  // namespace
}  // namespace ferry::lab
