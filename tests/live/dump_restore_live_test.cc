// Victims that cross a directory of image files, in one process: dump and restore against each
// other.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <string>

#include "dump/source_tree.h"
#include "dump/to_images.h"
#include "image/store.h"
#include "restore/from_images.h"
#include "snapshot.h"

namespace ferry::live {
namespace {

class ImageDirectory {
  public:
    ImageDirectory() {
        char path[] = "/tmp/ferry-images-XXXXXX";
        if (::mkdtemp(path) != nullptr) path_ = path;
    }
    ImageDirectory(const ImageDirectory&) = delete;
    ImageDirectory& operator=(const ImageDirectory&) = delete;
    ~ImageDirectory() { std::filesystem::remove_all(path_); }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

Result<> dump(Pid root, const std::string& path) {
    auto store = TRY(image::DirectoryStore::open(path));
    auto tree = TRY(dump::SourceTree::open(root, {.files = {}, .carry_shared_memory = true}));
    TRY(dump::dump_to_images(tree, store, {}));
    return {};
}

class Crossing : public testing::TestWithParam<const char*> {};

TEST_P(Crossing, TheVictimFindsEverythingAsItWasTwice) {
    auto victim = Victim::start(GetParam());
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    Victim::let_run();
    for (int i = 0; i < 2; ++i) {
        const ImageDirectory images;
        const auto dumped = dump(victim->pid(), images.path());
        ASSERT_TRUE(dumped.has_value()) << dumped.error().describe();
        ::waitpid(victim->pid().value, nullptr, 0);
        restore::RestoreOptions options;
        options.images_directory = images.path();
        const auto report = restore::restore_from_images(options);
        ASSERT_TRUE(report.has_value()) << report.error().describe();
        Victim::let_run();
    }
    EXPECT_EQ(victim->verdict(), "PASS");
}

INSTANTIATE_TEST_SUITE_P(EveryVictim, Crossing,
                         testing::Values("append_log", "clocks", "credentials", "epoll", "eventfd",
                                         "family", "file_positions", "floating_point", "fork_storm",
                                         "ghost_files", "ghost_mappings", "growing_memory",
                                         "many_descriptors", "many_mappings", "many_threads",
                                         "pipe_content", "plain", "process_state", "rseq",
                                         "seccomp", "shared_anonymous", "shared_pages", "signalfd",
                                         "timerfd", "spinning_vectors", "tcp_listen",
                                         "thread_storm", "timers", "unix_pair", "writer"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace ferry::live
