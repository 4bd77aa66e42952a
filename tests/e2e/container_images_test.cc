// A container under runc through image files: dumped by its name, made again by its runtime.
#include "container_fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class ContainerImagesTest : public ContainerCrossingTest {
  protected:
    void SetUp() override {
        ContainerCrossingTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        shell("mkdir -p " + std::string(kImages));
    }
    // Clients that write to a Redis in the container, under way.
    void start_load(std::uint64_t keys = 16 * 1024) {
        auto load = start_redis(keys);
        ASSERT_OK(load);
        load_ = std::move(*load);
        std::this_thread::sleep_for(200ms);
    }
    static std::vector<std::string> dump(const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"dump", "web",   "--runtime-root",   kRuncRoot,
                                              "-D",   kImages, "--tcp-established"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    std::vector<fs::path> files() {
        std::vector<fs::path> found;
        for (const auto& entry : fs::directory_iterator(platform(0).host().path(kImages))) {
            found.push_back(entry.path());
        }
        std::sort(found.begin(), found.end());
        return found;
    }
    // By its runtime: what there is of the container.
    std::string runtime_says(std::size_t where) {
        const auto list = runc(platform(where).host(), {"list"}, 10s);
        return list ? list->out : "unknown";
    }
    // Directories of sessions that keep image files now, on either platform.
    static std::string left_over_images() {
        std::string found;
        for (const auto& entry : fs::directory_iterator("/dev/shm")) {
            const std::string name = entry.path().filename().string();
            if (name.starts_with("ferry-images-")) found += name + " ";
        }
        return found;
    }
    void expect_runs_on(std::size_t where = 0) {
        EXPECT_THAT(runtime_says(where), HasSubstr("running"));
        if (load_ == nullptr) return;
        expect_goes_on(*load_);
    }
    void expect_nothing_lost() { ferry::lab::expect_nothing_lost(*load_); }
    std::unique_ptr<Load> load_;
};

TEST_F(ContainerImagesTest, DumpEndsItAndRestoreBringsItBackToItsClients) {
    start_load();
    for (const std::size_t where : {std::size_t{0}, std::size_t{1}}) {
        const CommandResult dumped = ferry(0, dump());
        ASSERT_EQ(dumped.status, 0) << dumped.err;
        EXPECT_THAT(runtime_says(0), Not(HasSubstr("web")));
        std::this_thread::sleep_for(300ms);  // its clients' packets find nobody
        const CommandResult restored = ferry(where, restore());
        ASSERT_EQ(restored.status, 0) << restored.err;
        ASSERT_OK(container_->follow_to(platform(where).host()));
        expect_runs_on(where);
    }
    Host& there = platform(1).host();
    const auto inside = runc_checked(there, {"exec", "web", "redis-cli", "ping"}, 10s);
    ASSERT_OK(inside);
    EXPECT_THAT(*inside, HasSubstr("PONG"));
    expect_nothing_lost();
    ASSERT_OK(container_->stop(10s));
}

TEST_F(ContainerImagesTest, LeaveRunningTakesAPictureThatCritReads) {
    start_load();
    const CommandResult dumped = ferry(0, dump({"--leave-running"}));
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    expect_runs_on();
    std::size_t images = 0;
    for (const fs::path& file : files()) {
        const std::string name = file.filename().string();
        if (file.extension() != ".img" || name.starts_with("pages-")) continue;
        ++images;
        const auto decoded = platform(0).host().run(
            {"crit", "decode", "-i", std::string(kImages) + "/" + name}, 60s);
        ASSERT_OK(decoded);
        EXPECT_EQ(decoded->status, 0) << name << ": " << decoded->err;
    }
    EXPECT_GT(images, 10u);
    const auto taken = ferry(0, restore());
    EXPECT_NE(taken.status, 0);
    EXPECT_THAT(taken.err, HasSubstr("the name is taken"));
    expect_runs_on();
    expect_nothing_lost();
}

TEST_F(ContainerImagesTest, WhatItWroteToALoggerGoesToAFile) {
    auto logger = os::pipe2(0);
    ASSERT_OK(logger);
    start_container({"sh", "-c", "trap 'echo told' TERM; while :; do sleep 0.1; done"},
                    logger->second.get(), logger->second.get());
    const CommandResult dumped = ferry(0, dump());
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    const std::string output = directory_ + "/output";
    const CommandResult restored = ferry(0, {"restore", "-D", kImages, "-d", "--output", output});
    ASSERT_EQ(restored.status, 0) << restored.err;
    ASSERT_OK(container_->follow_to(platform(0).host()));
    ASSERT_OK(runc_checked(platform(0).host(), {"kill", "web", "TERM"}, 10s));
    const auto written = [&] { return os::read_file(output).value_or("") == "told\n"; };
    for (int attempt = 0; attempt < 200 && !written(); ++attempt) std::this_thread::sleep_for(50ms);
    EXPECT_TRUE(written()) << os::read_file(output).value_or("no file");
}

TEST_F(ContainerImagesTest, WhatIsInItsTmpfsMountsAndItsNetworkComesBack) {
    start_container({"sleep", "1000"});
    const auto inside = [&](const std::string& script) {
        const auto out = runc_checked(platform(0).host(), {"exec", "web", "sh", "-c", script}, 10s);
        EXPECT_OK(out);
        return out.value_or("");
    };
    inside("mkdir -m 1750 /dev/shm/d; echo kept > /dev/shm/d/file; ln -s d/file /dev/shm/link");
    const auto look = [&] {
        const auto network = platform(0).host().run_checked(
            {"nsenter", "-n", "-t", fmt::format("{}", container_->init_pid()), "sh", "-c",
             "ip -br addr show dev eth0; ip -br link show dev eth0; ip route"},
            5s);
        EXPECT_OK(network);
        std::string text = network.value_or("");
        for (std::size_t at; (at = text.find("@if")) != std::string::npos;) {
            text.erase(at, text.find(' ', at) - at);  // the peer's number is any
        }
        return inside(
                   "find /dev/shm -printf '%p %y %m %U %s %T@ %l\\n' | sort; "
                   "cat /dev/shm/link") +
               text;
    };
    const std::string before = look();
    EXPECT_THAT(before, HasSubstr("kept"));
    EXPECT_THAT(before, HasSubstr(kIp));
    const CommandResult dumped = ferry(0, dump());
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    const CommandResult other = ferry(0, {"restore", "other", "-D", kImages, "-d"});
    EXPECT_THAT(other.err, HasSubstr("the images are of container \"web\""));
    const CommandResult restored = ferry(0, {"restore", "web", "-D", kImages, "-d"});
    ASSERT_EQ(restored.status, 0) << restored.err;
    ASSERT_OK(container_->follow_to(platform(0).host()));
    EXPECT_EQ(look(), before);
}

TEST_F(ContainerImagesTest, MigratesThroughFilesThereAndBack) {
    start_load();
    for (const std::size_t to : {std::size_t{1}, std::size_t{0}}) {
        const CommandResult moved = ferry(1 - to, {"migrate", "web", "--to", platform(to).address(),
                                                   "--method", "checkpoint", "--json"});
        ASSERT_EQ(moved.status, 0)
            << moved.err << moved.out << platform(1 - to).agent_log() << platform(to).agent_log();
        ASSERT_OK(container_->follow_to(platform(to).host()));
        const auto report = find_report(moved);
        EXPECT_EQ(report.method, "checkpoint");
        EXPECT_GT(report.checkpoint_ms, 0);
        EXPECT_GT(report.transfer_ms, 0);
        EXPECT_GT(report.restore_ms, 0);
        EXPECT_GE(report.frozen_ms, report.checkpoint_ms + report.transfer_ms + report.restore_ms);
        EXPECT_THAT(runtime_says(1 - to), Not(HasSubstr("web")));
        expect_runs_on(to);
    }
    EXPECT_EQ(left_over_images(), "");
    expect_nothing_lost();
}

// Both platforms see the same file, so only one of them can have it locked.
TEST_F(ContainerImagesTest, ALockOfASharedFileGoesAlongThroughFiles) {
    start_container({"flock", "/data/lock", "sleep", "1000"});
    const auto is_locked = [&](std::size_t where) {
        const auto tried = runc(platform(where).host(),
                                {"exec", "web", "flock", "--nonblock", "/data/lock", "true"}, 10s);
        return tried && tried->status == 1;
    };
    EXPECT_TRUE(is_locked(0));
    const CommandResult moved = ferry(0, {"migrate", "web", "--to", platform(1).address(),
                                          "--method", "checkpoint", "--shared-storage"});
    ASSERT_EQ(moved.status, 0) << moved.err << moved.out;
    ASSERT_OK(container_->follow_to(platform(1).host()));
    EXPECT_TRUE(is_locked(1));
}

TEST_F(ContainerImagesTest, AMigrationThroughFilesThatFailsHarmsNothing) {
    start_load();
    const auto migrate = [&](const std::vector<std::string>& more) {
        std::vector<std::string> arguments = {
            "migrate", "web", "--to", platform(1).address(), "--method", "checkpoint"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    };
    expect_refused(migrate({"--images-dir", "/run/lab/none"}), "/run/lab/none");
    expect_runs_on();
    shell(std::string("mount -t tmpfs -o size=4M tmpfs ") + kImages);
    expect_refused(migrate({"--images-dir", kImages}), "ENOSPC");
    expect_runs_on();
    // What was made there before the freeze.
    for (int i = 0; i < 5000 && runtime_says(1).contains("web"); ++i) {
        std::this_thread::sleep_for(2ms);
    }
    EXPECT_THAT(runtime_says(1), Not(HasSubstr("web")));
    shell(std::string("umount ") + kImages);
    const std::string worker = "kill -9 $(pgrep -P $(pgrep -o -x ferryd))";
    for (const std::size_t where : {std::size_t{0}, std::size_t{1}}) {
        os::Launch launch = platform(0).host().launch(platform(0).ferry(migrate({})));
        auto migration = os::ChildProcess::start(launch);
        ASSERT_OK(migration);
        for (int i = 0; i < 2000 && left_over_images().empty(); ++i) {
            std::this_thread::sleep_for(2ms);
        }
        ASSERT_OK(platform(where).host().run_checked({"sh", "-c", worker}, 5s));
        const auto status = migration->wait(60s);
        ASSERT_OK(status);
        EXPECT_NE(status->value_or(0), 0);
        expect_runs_on();
    }
    for (int i = 0; i < 500 && !left_over_images().empty(); ++i) {
        std::this_thread::sleep_for(20ms);
    }
    EXPECT_EQ(left_over_images(), "");
    EXPECT_THAT(runtime_says(1), Not(HasSubstr("web")));
    expect_nothing_lost();
}

TEST_F(ContainerImagesTest, ADumpThatFailsHarmsNothing) {
    start_load();
    const auto refused = [&](const std::vector<std::string>& arguments, const std::string& why) {
        expect_refused(arguments, why);
        expect_runs_on();
    };
    refused({"dump", "nobody", "-D", kImages}, "no container \"nobody\"");
    refused({"dump", "web", "-D", kImages, "--runtime-root", kRuncRoot}, "--tcp-established");
    shell(std::string("mount -t tmpfs -o size=4M tmpfs ") + kImages);
    refused(dump(), "ENOSPC");
    EXPECT_THAT(files(), testing::IsEmpty());
    shell(std::string("mount -o remount,ro ") + kImages);
    refused(dump(), "EROFS");
    shell(std::string("umount ") + kImages);
    expect_nothing_lost();
}

TEST_F(ContainerImagesTest, ADumpThatIsKilledLetsItRunOn) {
    start_container({"redis-server", "--save", ""});
    for (const int delay_ms : {20, 50, 80, 110, 140}) {
        // Whether it is over by then, or not yet frozen, is the machine's affair.
        shell(fmt::format("cd / && {{ {} & }}; sleep 0.{:03}; kill -9 $! || true",
                          fmt::join(platform(0).ferry(dump({"--leave-running"})), " "), delay_ms));
        expect_runs_on();
    }
    const CommandResult whole = ferry(0, dump({"--leave-running"}));
    EXPECT_EQ(whole.status, 0) << whole.err;
    const auto inside = runc_checked(platform(0).host(), {"exec", "web", "redis-cli", "ping"}, 10s);
    ASSERT_OK(inside);
    EXPECT_THAT(*inside, HasSubstr("PONG"));
}

TEST_F(ContainerImagesTest, FilesThatAreDamagedAreRefusedAndNothingIsLeft) {
    start_load(1024);
    const CommandResult dumped = ferry(0, dump());
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    shell(std::string("cp -a ") + kImages + " /run/lab/good");
    for (const fs::path& file : files()) {
        const std::string name = file.filename().string();
        const bool own = name.starts_with("ferry-") || name == "pstree.img" || name == "mm-1.img";
        if (!own && !name.starts_with("pages-1.")) continue;
        for (const char* damage : {"truncate -s -700 ", "truncate -s 0 ", "rm "}) {
            shell(std::string(damage) + kImages + "/" + name);
            const CommandResult result = ferry(0, restore());
            EXPECT_NE(result.status, 0) << damage << name;
            EXPECT_LT(result.status, 128) << damage << name;
            EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
            EXPECT_THAT(runtime_says(0), Not(HasSubstr("web"))) << damage << name;
            shell("cp -a /run/lab/good/" + name + " " + kImages + "/" + name);
        }
    }
    const CommandResult restored = ferry(0, restore());
    ASSERT_EQ(restored.status, 0) << restored.err;
    ASSERT_OK(container_->follow_to(platform(0).host()));
    expect_nothing_lost();
}

}  // namespace
}  // namespace ferry::lab
