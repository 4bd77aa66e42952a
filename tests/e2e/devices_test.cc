// Sockets that mean a network device by its name: addresses of one link, which the kernel has by
// the device's number, and devices that the destination lacks.
#include "fixture.h"
#include "talker.h"

namespace ferry::lab {
namespace {

// What the kernel makes of the service's MAC (RFC 4291, appendix A).
constexpr const char* kLinkLocal = "fe80::fe:77ff:fe00:164";

class DevicesTest : public TwoPlatformsTest {
  protected:
    void TearDown() override {
        for (os::ChildProcess& each : helpers_) each = {};
        lab_.reset();
    }
    void run_on(const Host& host, std::vector<std::string> words) {
        auto started = os::ChildProcess::start(host.launch(std::move(words)));
        ASSERT_OK(started);
        helpers_.push_back(std::move(*started));
    }
    std::vector<os::ChildProcess> helpers_;
};

TEST_F(DevicesTest, AddressesOfOneLinkAreThoseOfTheDeviceOfThatName) {
    // The numbers of what is made from now on differ.
    for (int i = 0; i < 3; ++i) {
        ASSERT_OK(
            platform(1).host().run_checked({"ip", "link", "add", "gap", "type", "bridge"}, 60s));
        ASSERT_OK(platform(1).host().run_checked({"ip", "link", "del", "gap"}, 60s));
    }
    ASSERT_OK(add_service_interface(platform(0).host(), {}));
    const std::string own = std::string(kLinkLocal) + "%svc0";
    const auto ready = platform(0).host().run_checked(
        {"sh", "-c",
         "until ip -6 -o addr show dev svc0 scope link -tentative | grep -q fe80; "
         "do sleep 0.05; done"},
        60s);
    ASSERT_OK(ready);
    const auto started =
        start_redis(platform(0).host(), {.directory = std::string(kSharedDirectory) + "/redis",
                                         .extra = {"--bind", "10.77.1.100", own}});
    ASSERT_OK(started);
    const std::string said = lab_->client().path(std::string(kSharedDirectory) + "/said");
    run_on(lab_->client(), talker("::", std::string(kSharedDirectory) + "/said",
                                  std::string(kLinkLocal) + "%eth0"));
    expect_talking(said);
    for (const std::size_t from : {0u, 1u}) {
        const auto moved = platform(from).run_ferry(
            {"migrate", std::to_string(started->value), "--to", platform(1 - from).address()}, 60s);
        ASSERT_OK(moved);
        ASSERT_EQ(moved->status, 0) << moved->err << platform(1 - from).agent_log();
        expect_talking(said);
        // Who connects anew gets there, too.
        const auto answer =
            lab_->client().run({"redis-cli", "-h", std::string(kLinkLocal) + "%eth0", "ping"}, 60s);
        ASSERT_OK(answer);
        EXPECT_THAT(answer->out, testing::HasSubstr("PONG"));
    }
}

TEST_F(DevicesTest, OneThatIsNotThereIsSaidBeforeTheFreeze) {
    const Host& one = platform(0).host();
    ASSERT_OK(one.run_checked({"ip", "link", "add", "other", "up", "type", "bridge"}, 60s));
    ASSERT_OK(one.run_checked({"ip", "addr", "add", "10.99.0.1/24", "dev", "other"}, 60s));
    constexpr const char* kMember = R"(
use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0);
setsockopt($s, IPPROTO_IP, 35, inet_aton("239.1.2.3") . inet_aton("10.99.0.1")) or die "join: $!";
open(my $ready, ">", "/run/lab/ready"); print $ready "$$\n"; close($ready);
sleep 1000;)";
    run_on(one, {"perl", "-e", kMember});
    std::string pid;
    for (int i = 0; i < 1200 && pid.empty(); ++i) {
        std::this_thread::sleep_for(50ms);
        pid = os::read_file(one.path("/run/lab/ready")).value_or("");
    }
    ASSERT_FALSE(pid.empty());
    pid.pop_back();
    expect_refused({"migrate", pid, "--to", platform(1).address()},
                   "a socket of the service needs the network device other, which is not here");
    ASSERT_OK(
        platform(1).host().run_checked({"ip", "link", "add", "other", "type", "bridge"}, 60s));
    const auto moved = platform(0).run_ferry({"migrate", pid, "--to", platform(1).address()}, 60s);
    ASSERT_OK(moved);
    EXPECT_EQ(moved->status, 0) << moved->err;
}

}  // namespace
}  // namespace ferry::lab
