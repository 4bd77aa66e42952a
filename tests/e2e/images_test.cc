// Redis through image files, and image directories as the world leaves them.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "fixture.h"

namespace ferry::lab {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class ImagesTest : public TwoPlatformsTest {
  protected:
    void SetUp() override {
        TwoPlatformsTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        start(16);
        shell("mkdir -p " + std::string(kImages));
    }
    std::vector<std::string> dump(const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments = {"dump", "-t",    service_pid(),
                                              "-D",   kImages, "--tcp-established"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    std::vector<fs::path> image_files() {
        std::vector<fs::path> files;
        for (const auto& entry : fs::directory_iterator(platform(0).host().path(kImages))) {
            if (entry.path().extension() == ".img") files.push_back(entry.path());
        }
        std::sort(files.begin(), files.end());
        return files;
    }
    void clear_images() { shell("rm -rf " + std::string(kImages) + "/*"); }
};

TEST_F(ImagesTest, DumpEndsTheServiceAndRestoreBringsItBackToItsClients) {
    const CommandResult dumped = ferry(0, dump());
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    EXPECT_EQ(*lab_->copies(), 0u);
    const CommandResult restored = ferry(0, restore());
    ASSERT_EQ(restored.status, 0) << restored.err;
    clear_images();
    shell(std::string("rmdir ") + kImages);
    expect_unharmed();
    expect_nothing_lost();
}

TEST_F(ImagesTest, LeaveRunningTakesAPictureAndHarmsNothing) {
    const CommandResult dumped = ferry(0, dump({"--leave-running"}));
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    EXPECT_FALSE(image_files().empty());
    clear_images();
    shell(std::string("rmdir ") + kImages);
    expect_unharmed();
    expect_nothing_lost();
}

TEST_F(ImagesTest, AMigrationThroughFilesTakesItsClientsAlong) {
    const auto crossed = lab_->migrate(0, 1, {"--method", "checkpoint"});
    ASSERT_OK(crossed);
    EXPECT_TRUE(crossed->report.succeeded) << crossed->report.error;
    EXPECT_EQ(crossed->report.method, "checkpoint");
    EXPECT_EQ(crossed->copies, 1u);
    expect_load_goes_on();
    expect_nothing_lost();
}

TEST_F(ImagesTest, DebiansCritDecodesEveryFile) {
    const CommandResult dumped = ferry(0, dump({"--leave-running"}));
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    for (const fs::path& file : image_files()) {
        if (file.filename().string().starts_with("pages-")) continue;  // raw pages
        const auto decoded = platform(0).host().run(
            {"crit", "decode", "-i", std::string(kImages) + "/" + file.filename().string()}, 60s);
        ASSERT_OK(decoded);
        EXPECT_EQ(decoded->status, 0) << file.filename() << ": " << decoded->err;
    }
}

TEST_F(ImagesTest, ADirectoryThatIsMissing) {
    expect_refused({"dump", "-t", service_pid(), "-D", "/run/lab/none", "--tcp-established"},
                   "/run/lab/none");
    expect_refused({"restore", "-D", "/run/lab/none"}, "/run/lab/none");
    shell(std::string("rmdir ") + kImages);
    expect_unharmed();
}

TEST_F(ImagesTest, ADirectoryThatIsEmpty) {
    expect_refused(restore(), "inventory");
    shell(std::string("rmdir ") + kImages);
    expect_unharmed();
}

TEST_F(ImagesTest, ADirectoryOnAFullFileSystem) {
    shell(std::string("mount -t tmpfs -o size=4M tmpfs ") + kImages);
    expect_refused(dump(), "ENOSPC");
    EXPECT_TRUE(image_files().empty()) << "half an image was left";
    shell(std::string("umount ") + kImages + " && rmdir " + kImages);
    expect_unharmed();
}

TEST_F(ImagesTest, ADirectoryThatIsReadOnly) {
    shell(std::string("mount -t tmpfs -o ro tmpfs ") + kImages);
    expect_refused(dump(), "EROFS");
    shell(std::string("umount ") + kImages + " && rmdir " + kImages);
    expect_unharmed();
}

TEST_F(ImagesTest, FilesThatAreTruncatedOrForeignAreRefusedAndNothingRuns) {
    ASSERT_EQ(ferry(0, dump()).status, 0);
    shell(std::string("cp -a ") + kImages + " /run/lab/good");
    for (const fs::path& file : image_files()) {
        const std::string name = file.filename().string();
        if (fs::file_size(file) == 0) continue;
        for (const char* damage :
             {"truncate -s -1 ", "dd bs=64 count=1 conv=notrunc if=/dev/urandom of="}) {
            shell(std::string(damage) + kImages + "/" + name + " 2>/dev/null");
            // Random bytes over page content are content: nothing in the format tells them apart.
            const bool content = name.starts_with("pages-") && damage[0] == 'd';
            if (!content) {
                const CommandResult result = ferry(0, restore());
                EXPECT_NE(result.status, 0) << damage << name;
                EXPECT_LT(result.status, 128) << damage << name;
                EXPECT_EQ(*lab_->copies(), 0u) << damage << name;
            }
            shell("cp -a /run/lab/good/" + name + " " + kImages + "/" + name);
        }
    }
    const CommandResult restored = ferry(0, restore());
    ASSERT_EQ(restored.status, 0) << restored.err;
    expect_load_goes_on();
    expect_nothing_lost();
}

// The engines restore each other's dumps. Needs CRIU=/path/to/criu (4.1 or later).
TEST_F(ImagesTest, EitherEngineRestoresTheOthersDump) {
    const char* criu = std::getenv("CRIU");
    if (criu == nullptr) GTEST_SKIP() << "CRIU is not set";
    Host& host = platform(0).host();
    const auto criu_dumped =
        host.run({criu, "dump", "-t", service_pid(), "-D", kImages, "--tcp-established",
                  "--network-lock", "nftables", "-o", "dump.log"},
                 60s);
    ASSERT_OK(criu_dumped);
    ASSERT_EQ(criu_dumped->status, 0)
        << host.run({"tail", "-20", std::string(kImages) + "/dump.log"}, 5s)->out;
    const CommandResult back = ferry(0, restore());
    ASSERT_EQ(back.status, 0) << back.err;
    expect_load_goes_on();
    clear_images();
    const CommandResult dumped = ferry(0, dump());
    ASSERT_EQ(dumped.status, 0) << dumped.err;
    const auto restored = host.run({criu, "restore", "-D", kImages, "--tcp-established",
                                    "--restore-detached", "-o", "restore.log"},
                                   60s);
    ASSERT_OK(restored);
    ASSERT_EQ(restored->status, 0)
        << host.run({"tail", "-20", std::string(kImages) + "/restore.log"}, 5s)->out;
    expect_load_goes_on();
    // CRIU restores into a time namespace.
    clear_images();
    const CommandResult dumped_again = ferry(0, dump());
    ASSERT_EQ(dumped_again.status, 0) << dumped_again.err;
    const CommandResult restored_again = ferry(0, restore());
    ASSERT_EQ(restored_again.status, 0) << restored_again.err;
    expect_load_goes_on();
    expect_nothing_lost();
}

}  // namespace
}  // namespace ferry::lab
