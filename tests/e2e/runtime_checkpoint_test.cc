// `runc checkpoint` and `runc restore`, where the program that runc takes for CRIU is Ferry.
#include "container_fixture.h"
#include "lab/platform.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

class RuntimeCheckpointTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        std::filesystem::create_directory(programs());
        std::filesystem::create_symlink(program_directory().value_or("") + "/ferry",
                                        programs() + "/criu");
    }
    // Clients that write to a Redis in the container, under way.
    void start_load() {
        auto load = start_redis(16 * 1024);
        ASSERT_OK(load);
        load_ = std::move(*load);
        std::this_thread::sleep_for(200ms);
    }
    CommandResult runc_with_ferry(const std::vector<std::string>& arguments,
                                  const std::string& how = "exec \"$@\"") {
        std::vector<std::string> all = {"sh",     "-c",       "PATH=$1:$PATH; shift; " + how,
                                        "sh",     programs(), "runc",
                                        "--root", kRuncRoot};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const auto result = platform(at_).host().run(all, 60s);
        EXPECT_OK(result);
        return result.value_or(CommandResult{.status = -1, .out = {}, .err = {}});
    }
    CommandResult checkpoint(const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"checkpoint", "--image-path", images(),
                                              "--tcp-established"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        arguments.emplace_back("web");
        return runc_with_ferry(arguments);
    }
    CommandResult restore(const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"restore",  "--detach", "--image-path",     images(),
                                              "--bundle", bundle(),   "--tcp-established"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        arguments.emplace_back("web");
        return runc_with_ferry(arguments);
    }
    static bool says(const std::string& path, const std::string& word) {
        for (int attempt = 0; attempt < 400; ++attempt) {
            if (os::read_file(path).value_or("").find(word) != std::string::npos) return true;
            std::this_thread::sleep_for(50ms);
        }
        return false;
    }
    static std::string last_line(const std::string& path) {
        std::string text = os::read_file(path).value_or("");
        text.erase(text.find_last_not_of('\n') + 1);
        return text.substr(text.rfind('\n') + 1);
    }
    // Of Ferry's, below /run.
    std::string left_behind() {
        const auto found =
            platform(at_).host().run({"find", "/run", "-maxdepth", "1", "-name", "ferry-*"}, 5s);
        return found ? found->out : "unknown";
    }
    std::string runtime_says() {
        const auto list = runc(platform(at_).host(), {"list"}, 10s);
        return list ? list->out : "unknown";
    }
    [[nodiscard]] std::string log_of(const std::string& verb) const {
        return os::read_file(images() + "/" + verb + ".log").value_or("no log");
    }
    [[nodiscard]] std::string programs() const { return directory_ + "/programs"; }
    [[nodiscard]] std::string images() const { return directory_ + "/images"; }
    [[nodiscard]] std::string bundle() const { return storage() + "/web"; }
    std::size_t at_ = 0;  // where the container is
    std::unique_ptr<Load> load_;
};

TEST_F(RuntimeCheckpointTest, AContainerComesBackToItsClientsTwice) {
    start_load();
    for (int i = 0; i < 2; ++i) {
        const CommandResult taken = checkpoint();
        ASSERT_EQ(taken.status, 0) << taken.err << log_of("dump");
        EXPECT_THAT(runtime_says(), Not(HasSubstr("web")));
        const CommandResult restored = restore();
        ASSERT_EQ(restored.status, 0) << restored.err << log_of("restore");
        EXPECT_THAT(runtime_says(), HasSubstr("running"));
        ASSERT_OK(container_->follow_to(platform(0).host()));
        expect_goes_on(*load_);
        std::filesystem::remove_all(images());
    }
    const auto inside = runc_checked(platform(0).host(), {"exec", "web", "redis-cli", "ping"}, 10s);
    ASSERT_OK(inside);
    EXPECT_THAT(*inside, HasSubstr("PONG"));
    ferry::lab::expect_nothing_lost(*load_);
    ASSERT_OK(container_->stop(10s));
}

TEST_F(RuntimeCheckpointTest, WhatFerryHasMovedIsItsRuntimesToCheckpoint) {
    start_load();
    cross(0, 1);
    expect_goes_on(*load_);
    at_ = 1;
    for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(checkpoint().status, 0) << log_of("dump");
        EXPECT_THAT(runtime_says(), Not(HasSubstr("web")));
        ASSERT_EQ(restore().status, 0) << log_of("restore");
        ASSERT_OK(container_->follow_to(platform(at_).host()));
        expect_goes_on(*load_);
        std::filesystem::remove_all(images());
    }
    ferry::lab::expect_nothing_lost(*load_);
}

// Of a Redis of 64 MiB each pre-dump, and the dump, hold what was written since the one before.
TEST_F(RuntimeCheckpointTest, WhatAPreDumpHasIsNotWrittenAgain) {
    start_load();
    const auto dump = [&](const std::string& name, const std::vector<std::string>& options) {
        std::vector<std::string> arguments = {"checkpoint",  "--image-path", images() + "/" + name,
                                              "--work-path", images(),       "--tcp-established"};
        arguments.insert(arguments.end(), options.begin(), options.end());
        arguments.emplace_back("web");
        const CommandResult result = runc_with_ferry(arguments);
        ASSERT_EQ(result.status, 0) << result.err << log_of("dump");
    };
    const auto page_bytes = [&](const std::string& name) {
        std::uintmax_t sum = 0;
        for (const auto& file : std::filesystem::directory_iterator(images() + "/" + name)) {
            const std::string path = file.path().filename();
            if (path.starts_with("pages-")) sum += file.file_size();
        }
        return sum;
    };
    std::filesystem::create_directory(images());
    ASSERT_NO_FATAL_FAILURE(dump("first", {"--pre-dump"}));
    ASSERT_NO_FATAL_FAILURE(dump("second", {"--pre-dump", "--parent-path", "../first"}));
    expect_goes_on(*load_);
    ASSERT_OK(load_->stop());
    ASSERT_NO_FATAL_FAILURE(dump("third", {"--pre-dump", "--parent-path", "../second"}));
    ASSERT_NO_FATAL_FAILURE(dump("last", {"--parent-path", "../third"}));
    EXPECT_GT(page_bytes("first"), 16u << 20);
    EXPECT_LT(page_bytes("last"), 8u << 20);
    const CommandResult restored =
        runc_with_ferry({"restore", "--detach", "--image-path", images() + "/last", "--work-path",
                         images(), "--bundle", bundle(), "--tcp-established", "web"});
    ASSERT_EQ(restored.status, 0) << restored.err << log_of("restore");
    ASSERT_OK(container_->follow_to(platform(0).host()));
    const auto verified = load_->verify();
    ASSERT_OK(verified);
    EXPECT_EQ(verified->lost, 0u);
    EXPECT_EQ(verified->foreign, 0u);
}

// Counts aloud until it is told to end, and then ends with 7.
constexpr const char* kCounter =
    "mkfifo /data/fifo; trap 'exit 7' TERM; i=0;"
    "while :; do echo $((i += 1)); read -t 0.05 x <> /data/fifo; done";

TEST_F(RuntimeCheckpointTest, ItsOutputGoesWhereItsRuntimeHasItGoAndItsEndIsTold) {
    const std::string before = directory_ + "/before", afterwards = directory_ + "/afterwards";
    const os::UniqueFd output(::open(before.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    start_container({"bash", "-c", kCounter}, output.get(), output.get());
    ASSERT_TRUE(says(before, "5\n"));
    ASSERT_EQ(checkpoint({"--leave-running"}).status, 0) << log_of("dump");
    EXPECT_THAT(runtime_says(), HasSubstr("running"));
    std::filesystem::remove_all(images());
    ASSERT_EQ(checkpoint().status, 0) << log_of("dump");
    const std::string counted = last_line(before);
    // Not detached: runc waits for its end.
    CommandResult restored;
    std::thread waiting([&] {
        restored =
            runc_with_ferry({"restore", "--image-path", images(), "--bundle", bundle(), "other"},
                            "exec \"$@\" > " + afterwards + " 2>&1 < /dev/null");
    });
    EXPECT_TRUE(says(afterwards, "\n")) << log_of("restore");
    const std::string first = os::read_file(afterwards).value_or("");
    EXPECT_EQ(std::atoi(first.c_str()), std::atoi(counted.c_str()) + 1) << first;
    EXPECT_THAT(runtime_says(), testing::AllOf(HasSubstr("other"), HasSubstr("running")));
    EXPECT_OK(runc_checked(platform(0).host(), {"kill", "other", "TERM"}, 10s));
    waiting.join();
    EXPECT_EQ(restored.status, 7) << os::read_file(afterwards).value_or("");
    EXPECT_THAT(left_behind(), testing::IsEmpty());
}

TEST_F(RuntimeCheckpointTest, WhatCannotBeIsRefusedByNameAndHarmsNothing) {
    start_load();
    EXPECT_NE(checkpoint({"--auto-dedup"}).status, 0);
    EXPECT_THAT(log_of("dump"), HasSubstr("option auto_dedup is not supported"));
    expect_goes_on(*load_);
    ASSERT_EQ(checkpoint().status, 0) << log_of("dump");
    std::filesystem::rename(images() + "/pstree.img", images() + "/away");
    EXPECT_NE(restore().status, 0);
    EXPECT_THAT(log_of("restore"), HasSubstr("pstree"));
    EXPECT_THAT(runtime_says(), Not(HasSubstr("web")));
    EXPECT_THAT(left_behind(), testing::IsEmpty());
    std::filesystem::rename(images() + "/away", images() + "/pstree.img");
    ASSERT_EQ(restore().status, 0) << log_of("restore");
    ASSERT_OK(container_->follow_to(platform(0).host()));
    expect_goes_on(*load_);
}

}  // namespace
}  // namespace ferry::lab
