// Files of every kind but TCP, collected from a child and opened again here.
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "resources/live_tree.h"

namespace ferry::resources {
namespace {

class Files : public testing::Test {
  protected:
    Files() {
        char path[] = "/tmp/ferry-files-XXXXXX";
        directory_ = ::mkdtemp(path);
    }
    ~Files() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }

    static Result<Moved> move(const std::function<void()>& set_up) {
        LiveTree tree(set_up);
        return move_files(tree);
    }
    static void expect_refusal(const std::function<void()>& set_up, const std::string& part,
                               const std::vector<int>& handed = {}) {
        const LiveTree tree(set_up, handed);
        FileCollector collector({}, nullptr);
        const std::vector<Pid> pids = {tree.pid()};
        const auto prepared = collector.prepare(pids);
        ASSERT_FALSE(prepared);
        EXPECT_EQ(prepared.error().kind(), Error::Kind::Unsupported);
        EXPECT_NE(prepared.error().message().find(part), std::string::npos)
            << prepared.error().message();
    }

    std::string directory_;
};

TEST_F(Files, a_position_is_kept_and_shared_by_duplicates) {
    auto moved = move([&] {
        const int fd = ::open(path("a").c_str(), O_RDWR | O_CREAT, 0600);
        write_text(fd, "0123456789");
        ::lseek(fd, 4, SEEK_SET);
        ::dup(fd);
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
        ::open(path("a").c_str(), O_RDWR);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(moved->file(3).id, moved->file(4).id);
    EXPECT_NE(moved->file(3).id, moved->file(5).id);
    EXPECT_TRUE(moved->checkpoint.processes[0].descriptors[3].close_on_exec);
    EXPECT_FALSE(moved->checkpoint.processes[0].descriptors[4].close_on_exec);
    EXPECT_EQ(read_some(moved->fd(3), 2), "45");
    EXPECT_EQ(read_some(moved->fd(5), 2), "01");
}

TEST_F(Files, a_log_opened_for_appending_appends) {
    auto moved = move([&] {
        const int fd = ::open(path("log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        write_text(fd, "one\n");
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    ::lseek(moved->fd(3), 0, SEEK_SET);
    write_text(moved->fd(3), "two\n");
    const int reader = ::open(path("log").c_str(), O_RDONLY);
    EXPECT_EQ(read_some(reader, 100), "one\ntwo\n");
    ::close(reader);
}

TEST_F(Files, directories_and_null_devices_are_opened_again) {
    auto moved = move([&] {
        ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY);
        ::open("/dev/urandom", O_RDONLY);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    struct stat status = {};
    ASSERT_EQ(::fstat(moved->fd(3), &status), 0);
    EXPECT_TRUE(S_ISDIR(status.st_mode));
    EXPECT_EQ(read_some(moved->fd(4), 8).size(), 8u);
    EXPECT_EQ(read_some(moved->fd(0), 8), "");
}

TEST_F(Files, a_message_queue_is_no_regular_file) {
    const std::string name = "/ferry-" + std::to_string(::getpid());
    const auto make = [&] { return ::mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, nullptr); };
    const std::string reason = "the POSIX message queue " + name;
    expect_refusal([&] { make(); }, reason);
    expect_refusal(
        [&] {
            make();
            ::mq_unlink(name.c_str());
        },
        reason);
    ::mq_unlink(name.c_str());
}

TEST_F(Files, a_file_of_another_size_is_not_taken_for_the_same) {
    LiveTree tree([&] {
        const int fd = ::open(path("a").c_str(), O_RDWR | O_CREAT, 0600);
        write_text(fd, "0123456789");
    });
    FileCollector collector({}, nullptr);
    const auto checkpoint = collect_files(collector, tree);
    ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    std::filesystem::resize_file(path("a"), 3);
    OpenedFiles opened{OpenOptions{}};
    const auto finished = opened.finish(*checkpoint);
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().kind(), Error::Kind::Invalid);
    EXPECT_NE(finished.error().message().find(path("a")), std::string::npos);
}

TEST_F(Files, a_working_directory_that_changes_meanwhile_is_found) {
    const pid_t child = ::fork();
    if (child == 0) {
        for (;;) {
            if (::chdir(directory_.c_str()) != 0 || ::usleep(20) != 0) ::_exit(1);
            if (::chdir("/") != 0 || ::usleep(20) != 0) ::_exit(1);
        }
    }
    FileCollector collector({}, nullptr);
    const std::string link = "/proc/" + std::to_string(child) + "/cwd";
    for (int i = 0; i < 2000; ++i) {
        const auto id = collector.add_path(link, O_RDONLY | O_DIRECTORY);
        ASSERT_TRUE(id) << id.error().describe();
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
}

TEST_F(Files, an_unlinked_file_is_shared_again_and_has_its_name_nowhere) {
    auto moved = move([&] {
        const int fd = ::open(path("gone").c_str(), O_RDWR | O_CREAT, 0640);
        write_text(fd, "0123456789");
        ::open(path("gone").c_str(), O_RDONLY);
        ::unlink(path("gone").c_str());
        ::open(directory_.c_str(), O_TMPFILE | O_RDWR, 0600);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    ASSERT_EQ(moved->checkpoint.ghosts.size(), 2u);
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
    write_text(moved->fd(3), "more");
    EXPECT_EQ(read_some(moved->fd(4), 20), "0123456789more");
    const auto link = os::readlinkat(os::kCwd, "/proc/self/fd/" + std::to_string(moved->fd(4)));
    EXPECT_EQ(link.value_or(""), path("gone") + " (deleted)");
}

TEST_F(Files, an_unlinked_file_does_not_disturb_another_one_of_its_name) {
    auto moved = move([&] {
        const int fd = ::open(path("name").c_str(), O_RDWR | O_CREAT, 0640);
        write_text(fd, "old");
        ::unlink(path("name").c_str());
        write_text(::open(path("name").c_str(), O_RDWR | O_CREAT, 0640), "new");
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    ::lseek(moved->fd(3), 0, SEEK_SET);
    ::lseek(moved->fd(4), 0, SEEK_SET);
    EXPECT_EQ(read_some(moved->fd(3), 10), "old");
    EXPECT_EQ(read_some(moved->fd(4), 10), "new");
}

TEST_F(Files, what_is_not_carried_is_refused_by_name) {
    expect_refusal(
        [&] {
            const int fd = ::open(path("gone").c_str(), O_RDWR | O_CREAT, 0600);
            write_text(fd, std::string((1 << 20) + 1, 'x'));
            ::unlink(path("gone").c_str());
        },
        "--ghost-limit");
    expect_refusal(
        [&] {
            ::open(path("one").c_str(), O_RDWR | O_CREAT, 0600);
            ::link(path("one").c_str(), path("other").c_str());
            ::unlink(path("one").c_str());
        },
        "hard link");
    expect_refusal(
        [&] {
            ASSERT_EQ(::symlink("nowhere", path("link").c_str()), 0);
            ::open(path("link").c_str(), O_PATH | O_NOFOLLOW);
            ::unlink(path("link").c_str());
        },
        "of another kind");
    expect_refusal([&] { ::flock(::open(path("a").c_str(), O_RDWR | O_CREAT, 0600), LOCK_EX); },
                   "--file-locks");
    expect_refusal(
        [&] { ::fcntl(::open(path("a").c_str(), O_RDONLY | O_CREAT, 0600), F_SETLEASE, F_RDLCK); },
        "lease");
    expect_refusal([] { ::timerfd_create(CLOCK_REALTIME_ALARM, 0); }, "timerfd of clock 8");
    expect_refusal(
        [&] {
            ::open(path("gone").c_str(), O_RDWR | O_CREAT, 0600);
            ::inotify_add_watch(::inotify_init1(IN_CLOEXEC), path("gone").c_str(), IN_MODIFY);
            ::unlink(path("gone").c_str());
        },
        "has no path");
    expect_refusal([] { ::open("/dev/kmsg", O_RDONLY); }, "/dev/kmsg");
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    expect_refusal([] {}, "read end is outside", {ends[1]});
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(Files, a_pipe_keeps_content_capacity_and_ends) {
    auto moved = move([] {
        int ends[2];
        ::pipe2(ends, O_NONBLOCK);
        ::fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
        write_text(ends[1], pattern(100'000));
        ::fcntl(ends[1], F_SETFL, 0);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(::fcntl(moved->fd(3), F_GETPIPE_SZ), 1 << 18);
    EXPECT_NE(::fcntl(moved->fd(3), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::fcntl(moved->fd(4), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(read_some(moved->fd(3), 100'000), pattern(100'000));
    char byte = 0;
    EXPECT_EQ(::read(moved->fd(3), &byte, 1), -1) << "the write end is open";
    write_text(moved->fd(4), "more");
    EXPECT_EQ(read_some(moved->fd(3), 4), "more");
}

TEST_F(Files, reading_a_pipe_from_outside_consumes_nothing) {
    const LiveTree tree([] {
        int ends[2];
        ::pipe(ends);
        write_text(ends[1], "stays");
    });
    FileCollector collector({}, nullptr);
    for (int round = 0; round < 2; ++round) {
        const auto checkpoint = collect_files(collector, tree);
        ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
        ASSERT_EQ(checkpoint->pipes.size(), 1u);
        EXPECT_EQ(checkpoint->pipes[0].content.size(), 5u);
    }
}

TEST_F(Files, a_pipe_whose_writer_is_gone_ends_after_its_content) {
    auto moved = move([] {
        int ends[2];
        ::pipe(ends);
        write_text(ends[1], "rest");
        ::close(ends[1]);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    EXPECT_EQ(read_some(moved->fd(3), 100), "rest");
}

TEST_F(Files, a_fifo_keeps_its_content) {
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
    auto moved = move([&] {
        const int both = ::open(path("fifo").c_str(), O_RDWR);
        ::open(path("fifo").c_str(), O_RDONLY);
        ::open(path("fifo").c_str(), O_WRONLY);
        ::close(both);
        write_text(5, "through");
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    write_text(moved->fd(5), " the fifo");
    EXPECT_EQ(read_some(moved->fd(4), 16), "through the fifo");
}

TEST_F(Files, an_eventfd_keeps_its_counter_and_mode) {
    auto moved = move([] {
        ::eventfd(7, EFD_NONBLOCK);
        ::eventfd(0, EFD_SEMAPHORE);
        const std::uint64_t large = 1ull << 40;
        if (::write(4, &large, sizeof(large)) != sizeof(large)) ::_exit(1);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    std::uint64_t counter = 0;
    ASSERT_EQ(::read(moved->fd(3), &counter, sizeof(counter)), 8);
    EXPECT_EQ(counter, 7u);
    EXPECT_EQ(::read(moved->fd(3), &counter, sizeof(counter)), -1);
    ASSERT_EQ(::read(moved->fd(4), &counter, sizeof(counter)), 8);
    EXPECT_EQ(counter, 1u);
    EXPECT_EQ(std::get<model::EventFd>(moved->file(4).body).counter, 1ull << 40);
}

TEST_F(Files, an_epoll_descriptor_names_its_targets) {
    auto moved = move([] {
        ::eventfd(0, 0);
        const int epoll = ::epoll_create1(0);
        epoll_event event = {.events = EPOLLIN | EPOLLET, .data = {.u64 = 0x1122334455667788}};
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, 3, &event);
    });
    ASSERT_TRUE(moved) << moved.error().describe();
    const auto& epoll = std::get<model::EventPoll>(moved->file(4).body);
    ASSERT_EQ(epoll.targets.size(), 1u);
    EXPECT_EQ(epoll.targets[0].fd, 3);
    EXPECT_EQ(epoll.targets[0].data, 0x1122334455667788u);
    EXPECT_EQ(epoll.targets[0].events & EPOLLET, static_cast<unsigned>(EPOLLET));
    epoll_event event = {.events = EPOLLIN, .data = {}};
    EXPECT_EQ(::epoll_ctl(moved->fd(4), EPOLL_CTL_ADD, moved->fd(3), &event), 0);
}

TEST_F(Files, paths_get_the_same_id_in_every_round) {
    const LiveTree tree([] {});
    FileCollector collector({}, nullptr);
    const std::string exe = "/proc/" + std::to_string(tree.pid().value) + "/exe";
    const auto first = collector.add_path(exe, O_RDONLY);
    const auto other = collector.add_path(exe, O_RDWR);
    ASSERT_TRUE(first);
    ASSERT_TRUE(other);
    EXPECT_NE(*first, *other);
    collector.begin_paths();
    EXPECT_EQ(*collector.add_path(exe, O_RDONLY), *first);
    EXPECT_EQ(collector.path_files()->size(), 1u);
    const auto checkpoint = collect_files(collector, tree);
    ASSERT_TRUE(checkpoint) << checkpoint.error().describe();
    ASSERT_NE(checkpoint->find_file(*first), nullptr);
    EXPECT_EQ(checkpoint->find_file(*other), nullptr);
    OpenedFiles opened{OpenOptions{}};
    ASSERT_TRUE(opened.prepare(*checkpoint));
    const int early = opened.fd(*first);
    ASSERT_TRUE(opened.finish(*checkpoint));
    EXPECT_EQ(opened.fd(*first), early) << "opened once";
}

}  // namespace
}  // namespace ferry::resources
