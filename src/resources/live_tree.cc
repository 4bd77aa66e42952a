#include "resources/live_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "resources/descriptor_room.h"

namespace ferry::resources {
namespace {

// What the test framework has open stays out of the child's table.
[[noreturn]] void run_child(const std::function<void()>& set_up, const std::vector<int>& handed,
                            int ready) {
    constexpr int kAside = 5000;
    constexpr int kReady = kAside - 1;
    ::dup2(ready, kReady);
    int count = 0;
    for (const int fd : handed) ::dup2(fd, kAside + count++);
    ::close_range(3, kReady - 1, 0);
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    ::close(null);
    for (int i = 0; i < count; ++i) ::dup2(kAside + i, 3 + i);
    ::close_range(kAside, ~0u, 0);
    set_up();
    const char byte = 1;
    if (::write(kReady, &byte, 1) != 1) ::_exit(1);
    ::close(kReady);
    for (;;) ::pause();
}

}  // namespace

void enter_test_network() {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "needs root";
    const os::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = {};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
}

LiveTree::LiveTree(const std::function<void()>& set_up, const std::vector<int>& handed) {
    EXPECT_TRUE(make_room_for_descriptors());
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_.value = ::fork();
    if (pid_.value == 0) run_child(set_up, handed, ends[1]);
    ::close(ends[1]);
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), 1) << "the child failed to set up";
    EXPECT_EQ(::read(ends[0], &byte, 1), 0);
    ::close(ends[0]);
}

void LiveTree::kill() {
    if (pid_.value <= 0) return;
    ::kill(pid_.value, SIGKILL);
    ::waitpid(pid_.value, nullptr, 0);
    pid_.value = 0;
}

const model::OpenFile& Moved::file(int fd, std::size_t index) const {
    for (const model::Descriptor& descriptor : checkpoint.processes.at(index).descriptors) {
        if (descriptor.fd == fd) return *checkpoint.find_file(descriptor.file);
    }
    throw std::out_of_range(fmt::format("descriptor {}", fd));
}

int Moved::fd(int fd, std::size_t index) const {
    return files.fd(file(fd, index).id);
}

Result<model::Checkpoint> collect_files(FileCollector& collector, const LiveTree& tree) {
    const std::vector<Pid> pids = {tree.pid()};
    TRY(collector.prepare(pids));
    CollectedFiles collected = TRY(collector.collect(pids));
    if (!collected.busy.empty()) {
        return fail(Error::make(Error::Kind::Aborted, "busy: " + collected.busy));
    }
    model::Checkpoint checkpoint;
    checkpoint.files = std::move(collected.files);
    checkpoint.pipes = std::move(collected.pipes);
    checkpoint.ghosts = std::move(collected.ghosts);
    checkpoint.locks = std::move(collected.locks);
    for (ProcessFiles& files : collected.processes) {
        model::Process& process = checkpoint.processes.emplace_back();
        process.pid = files.pid;
        process.descriptors = std::move(files.descriptors);
    }
    return checkpoint;
}

Result<Moved> move_files(LiveTree& tree, const FileOptions& options) {
    Moved moved;
    {
        FileCollector collector(options, nullptr);
        moved.checkpoint = TRY(collect_files(collector, tree));
        collector.silence();
    }
    tree.kill();
    TRY(moved.files.finish(moved.checkpoint));
    TRY(moved.files.leave_repair());
    return moved;
}

std::string read_some(int fd, std::size_t size) {
    std::string text(size, '\0');
    std::size_t used = 0;
    while (used < size) {
        pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
        constexpr int kPatienceMs = 5000;
        if (::poll(&waiting, 1, kPatienceMs) <= 0) break;
        const ssize_t n = ::read(fd, text.data() + used, size - used);
        if (n <= 0) break;
        used += static_cast<std::size_t>(n);
    }
    text.resize(used);
    return text;
}

void write_text(int fd, std::string_view text) {
    ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>((i / 8) >> (8 * (i % 8 % 4)));
    }
    return text;
}

}  // namespace ferry::resources
