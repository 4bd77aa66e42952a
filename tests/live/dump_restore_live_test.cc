// Victims that cross a directory of image files, in one process: dump and restore against each
// other.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
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
    auto tree =
        TRY(dump::SourceTree::open(root, {.files = {.tcp_established = true, .file_locks = true}}));
    TRY(dump::dump_to_images(tree, store, {}));
    return {};
}

// Tests beside this one must not get the numbers of terminals that a dumped tree had.
void have_own_terminals() {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666"), 0);
}

class Crossing : public testing::TestWithParam<const char*> {};

TEST_P(Crossing, TheVictimFindsEverythingAsItWasTwice) {
    if (std::string(GetParam()).starts_with("pty")) have_own_terminals();
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
        options.file_locks = true;
        options.tcp_established = true;
        const auto report = restore::restore_from_images(options);
        ASSERT_TRUE(report.has_value()) << report.error().describe();
        Victim::let_run();
    }
    EXPECT_EQ(victim->verdict(), "PASS");
}

INSTANTIATE_TEST_SUITE_P(
    EveryVictim, Crossing,
    testing::Values("aio", "aio_reads", "append_log", "blocked_calls", "clocks", "credentials",
                    "deleted_nodes", "direct_reads", "epoll", "eventfd", "family", "file_locks",
                    "file_positions", "floating_point", "fork_storm", "ghost_files",
                    "ghost_mappings", "growing_memory", "inotify", "in_flight", "leaderless",
                    "netlink", "packets", "stopped", "unix_listeners", "many_descriptors",
                    "many_mappings", "many_threads", "pidfds", "pidfds_of_threads", "pipe_content",
                    "plain", "process_state", "pty_pair", "pty_session", "raw_sockets", "rseq",
                    "seccomp", "shared_anonymous", "shared_pages", "shared_large", "multicast",
                    "unix_names", "small_stacks", "shared_writers", "memfd", "memfd_state",
                    "memfd_program", "membarrier", "droppable", "guard_pages", "private_of_shared",
                    "signalfd", "task_attributes", "socket_options", "timerfd", "spinning_vectors",
                    "tcp_listen", "tcp_loopback", "tcp_talk", "shared_ports", "socket_owners",
                    "thread_storm", "timers", "udp_queue", "unix_pair", "writer"),
    [](const auto& instance) { return std::string(instance.param); });

TEST(Restore, FindsAioRingsAmongThePagesWhereTheImageIsCrius) {
    auto victim = Victim::start("aio");
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    const ImageDirectory images;
    const auto dumped = dump(victim->pid(), images.path());
    ASSERT_TRUE(dumped.has_value()) << dumped.error().describe();
    ::waitpid(victim->pid().value, nullptr, 0);
    std::filesystem::remove(images.path() + "/ferry.json");
    restore::RestoreOptions options;
    options.images_directory = images.path();
    const auto report = restore::restore_from_images(options);
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    EXPECT_EQ(victim->verdict(), "PASS");
}

TEST(Restore, LeavesATerminalToWhoeverHasItByNow) {
    have_own_terminals();
    auto victim = Victim::start("pty_pair");
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    const ImageDirectory images;
    const auto dumped = dump(victim->pid(), images.path());
    ASSERT_TRUE(dumped.has_value()) << dumped.error().describe();
    ::waitpid(victim->pid().value, nullptr, 0);
    // The lowest indices that are free: the victim had these.
    std::array<int, 8> taken = {};
    for (int& master : taken) master = ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    restore::RestoreOptions options;
    options.images_directory = images.path();
    const auto refused = restore::restore_from_images(options);
    for (const int master : taken) ::close(master);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message().find("is in use"), std::string::npos)
        << refused.error().describe();
    const auto report = restore::restore_from_images(options);
    ASSERT_TRUE(report.has_value()) << report.error().describe();
    EXPECT_EQ(victim->verdict(), "PASS");
}

TEST(Restore, LeavesALockToWhoeverHasItByNow) {
    auto victim = Victim::start("file_locks");
    ASSERT_TRUE(victim.has_value()) << victim.error().describe();
    const pid_t pid = victim->pid().value;
    const std::string path =
        std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/fd/3").string();
    const ImageDirectory images;
    const auto dumped = dump(victim->pid(), images.path());
    ASSERT_TRUE(dumped.has_value()) << dumped.error().describe();
    ::waitpid(pid, nullptr, 0);
    const int ours = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct flock range = {};
    range.l_type = F_WRLCK;
    ASSERT_EQ(::fcntl(ours, F_OFD_SETLK, &range), 0);
    restore::RestoreOptions options;
    options.images_directory = images.path();
    options.file_locks = true;
    const auto refused = restore::restore_from_images(options);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message().find("locked by somebody else"), std::string::npos);
    EXPECT_NE(::kill(pid, 0), 0);
    ::close(ours);
    options.file_locks = false;
    const auto not_asked_for = restore::restore_from_images(options);
    ASSERT_FALSE(not_asked_for.has_value());
    EXPECT_NE(not_asked_for.error().message().find("--file-locks"), std::string::npos);
    ::unlink(path.c_str());
}

}  // namespace
}  // namespace ferry::live
