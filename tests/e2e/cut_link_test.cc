// The link between two agents is cut, silently, while a container crosses. It goes on where it was,
// its clients notice nothing but a pause, and the other side has nothing of it.
#include "container_fixture.h"
#include "silent_cut.h"

namespace ferry::lab {
namespace {

class CutLinkTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        // Slow, so that each phase lasts.
        ASSERT_OK(
            platform(0).host().run_checked({"tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
                                            "rate", "200mbit", "burst", "128k", "latency", "100ms"},
                                           5s));
        std::ofstream(directory_ + "/cut") << silent_cut(platform(1).address());
    }

    // Migrates while `when`, a shell script on the source's host, ends by cutting the link.
    void expect_it_fails_alone(const std::string& when) {
        const std::string none = traces();
        os::Launch cut =
            platform(0).host().launch({"sh", "-c", when + "\nexec nft -f " + directory_ + "/cut"});
        auto cutter = os::ChildProcess::start(cut);
        ASSERT_OK(cutter);
        const auto result = platform(0).run_ferry(
            {"migrate", "web", "--to", platform(1).address(), "--max-downtime", "300"}, 90s);
        ASSERT_OK(result);
        EXPECT_NE(result->status, 0) << result->out;
        EXPECT_THAT(result->err, testing::HasSubstr("lost"));
        ASSERT_OK(cutter->wait(5s));
        ASSERT_OK(platform(0).host().run_checked({"nft", "delete", "table", "ip", "cut"}, 5s));
        const auto state = container_->status();
        ASSERT_OK(state);
        EXPECT_EQ(*state, "running");
        for (int i = 0; i < 400 && traces() != none; ++i) std::this_thread::sleep_for(50ms);
        EXPECT_EQ(traces(), none);
    }
};

TEST_F(CutLinkTest, DuringPrecopyAndInTheFreeze) {
    auto load = start_redis(48 * 1024, 400);
    ASSERT_OK(load);
    expect_it_fails_alone("sleep 2");
    expect_goes_on(**load);
    // Stopped for longer than one system call in it takes.
    expect_it_fails_alone(fmt::format(
        "seen=0; while [ $seen -lt 40 ]; do\n"
        "  while read -r key value rest; do [ $key = State: ] && break; done < /proc/{}/status\n"
        "  if [ $value = t ]; then seen=$((seen + 1)); else seen=0; fi\n"
        "done",
        container_->init_pid()));
    expect_goes_on(**load);
    cross(0, 1);
    ferry::lab::expect_nothing_lost(**load);
}

}  // namespace
}  // namespace ferry::lab
