// A container of Podman with a terminal (`podman run -t`): its monitor holds the master, there and
// here.
#include "podman_fixture.h"

namespace ferry::lab {
namespace {

// Answers each line with the line and a number, if it is in a terminal.
constexpr const char* kTalker =
    "i=0; while read line; do i=$((i+1)); [ -t 1 ] && echo \"$i: $line\"; done; echo hung up";

class PodmanTerminalTest : public PodmanTest {
  protected:
    void start() {
        load_image(0);
        load_image(1);
        run_container({"/bin/sh", "-c", kTalker}, {"--network", "none", "-i", "-t"});
        expect_answer(0, "one", 1);
    }
    // Over `podman attach`, whose terminal is then taken away.
    void expect_answer(std::size_t where, const std::string& line, int number) {
        const std::string script = fmt::format(
            "timeout 9 sh -c 'sleep 2; echo {0}; exec sleep 30' | "
            "timeout 8 script -q -c 'podman attach --sig-proxy=false web' /dev/null",
            line);
        static_cast<void>(platform(where).host().run({"sh", "-c", script}, kLimit));
        const std::string wanted = fmt::format("{}: {}", number, line);
        EXPECT_TRUE(comes_true([&] { return log(where).find(wanted) != std::string::npos; }))
            << log(where);
    }
    std::string log(std::size_t where) { return podman(where, {"logs", "web"}).value_or("no log"); }
    void expect_done(std::size_t where, const std::vector<std::string>& arguments) {
        const auto done = platform(where).host().run(arguments, kLimit);
        ASSERT_OK(done);
        ASSERT_EQ(done->status, 0) << done->err << done->out;
    }
    void move(std::size_t to, const std::vector<std::string>& more = {}) {
        const CommandResult moved = migrate(to, more);
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(0).agent_log() << platform(1).agent_log();
        EXPECT_EQ(listed(1 - to), "");
    }
};

TEST_F(PodmanTerminalTest, IsAttachedToAndLoggedOnTheOtherSide) {
    start();
    ASSERT_NO_FATAL_FAILURE(move(1));
    expect_answer(1, "two", 2);
    ASSERT_NO_FATAL_FAILURE(move(0, {"--method", "checkpoint"}));
    expect_answer(0, "three", 3);
    const std::string whole = log(0);
    for (const char* line : {"1: one", "2: two", "3: three"}) {
        EXPECT_EQ(whole.find(line), whole.rfind(line)) << whole;
        EXPECT_NE(whole.find(line), std::string::npos) << whole;
    }
    EXPECT_EQ(whole.find("hung up"), std::string::npos) << whole;
}

TEST_F(PodmanTerminalTest, ComesBackFromImageFiles) {
    start();
    const std::string images = directory_ + "/images";
    std::filesystem::create_directory(images);
    ASSERT_NO_FATAL_FAILURE(expect_done(0, platform(0).ferry({"dump", "web", "-D", images})));
    EXPECT_EQ(listed(0), "");
    expect_done(1, platform(1).ferry({"restore", "web", "-D", images, "--restore-detached"}));
    expect_answer(1, "two", 2);
    // By Podman itself, which takes Ferry for CRIU.
    const std::string programs = directory_ + "/programs";
    std::filesystem::create_directory(programs);
    std::filesystem::create_symlink(program_directory().value_or("") + "/ferry",
                                    programs + "/criu");
    for (const char* verb : {"checkpoint", "restore"}) {
        expect_done(1, {"env", fmt::format("PATH={}:{}", programs, ::getenv("PATH")), "podman",
                        "container", verb, "web"});
    }
    expect_answer(1, "three", 3);
}

}  // namespace
}  // namespace ferry::lab
