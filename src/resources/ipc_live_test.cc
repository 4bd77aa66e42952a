// IPC namespaces of a child's own, with what it makes in them. Needs root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "os/fd.h"
#include "os/scope.h"
#include "resources/ipc_namespace.h"
#include "resources/segment.h"

namespace ferry::resources {
namespace {

using ::testing::HasSubstr;

// A process in an IPC namespace of its own, where `make` has been called.
class Inhabitant {
  public:
    explicit Inhabitant(const std::function<bool()>& make) {
        auto [read_end, write_end] = *os::pipe2(0);
        pid_ = ::fork();
        if (pid_ == 0) {
            const bool made = ::unshare(CLONE_NEWIPC) == 0 && make();
            static_cast<void>(::write(write_end.get(), made ? "y" : "n", 1));
            for (;;) ::pause();
        }
        char made = 0;
        EXPECT_EQ(::read(read_end.get(), &made, 1), 1);
        EXPECT_EQ(made, 'y');
    }
    Inhabitant(const Inhabitant&) = delete;
    Inhabitant& operator=(const Inhabitant&) = delete;
    ~Inhabitant() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] Pid pid() const { return Pid{pid_}; }

  private:
    pid_t pid_ = -1;
};

// Two sets, a queue, settings: none of them as a new namespace would have it.
bool make_some() {
    const int set = ::semget(0x77, 300, IPC_CREAT | 0604);
    std::array<unsigned short, 300> values = {};
    values[0] = 32767;
    values[299] = 3;
    semid_ds owner = {};
    ::semctl(set, 0, IPC_STAT, &owner);
    owner.sem_perm.uid = 33;
    const int removed = ::msgget(IPC_PRIVATE, 0600);
    if (::semctl(set, 0, SETALL, values.data()) != 0 || ::semctl(set, 0, IPC_SET, &owner) != 0 ||
        ::msgctl(removed, IPC_RMID, nullptr) != 0) {
        return false;
    }
    const int queue = ::msgget(0x78, IPC_CREAT | 0600);
    struct {
        long type = 5;
        char text[4] = "abc";
    } message;
    return ::msgsnd(queue, &message, 3, 0) == 0 && ::msgsnd(queue, &message, 0, 0) == 0 &&
           os::write_file(os::kCwd, "/proc/sys/kernel/msgmni", "77").has_value() &&
           os::write_file(os::kCwd, "/proc/sys/kernel/sem", "300 32000 64 99").has_value();
}

TEST(IpcNamespace, WhatIsMadeIsWhatWasThere) {
    const Inhabitant there(make_some);
    const Inhabitant here([] { return true; });
    const auto wanted = IpcNamespace::of(there.pid())->collect();
    ASSERT_TRUE(wanted) << wanted.error().message();
    EXPECT_EQ(wanted->settings.msgmni, 77u);
    ASSERT_EQ(wanted->queues.size(), 1u);
    EXPECT_GT(wanted->queues.front().object.id, 0);
    const auto made = IpcNamespace::of(here.pid());
    for (const auto& done : {made->loosen(*wanted), made->make(*wanted), made->settle(*wanted)}) {
        ASSERT_TRUE(done) << done.error().message();
    }
    EXPECT_EQ(*made->collect(), *wanted);
    const auto again = made->make(*wanted);
    ASSERT_FALSE(again);
    EXPECT_THAT(again.error().message(), HasSubstr("semaphore set 0"));
}

model::Checkpoint checkpoint_of(const Inhabitant& inhabitant) {
    model::Checkpoint checkpoint;
    checkpoint.ipc = *IpcNamespace::of(inhabitant.pid())->outline();
    return checkpoint;
}

TEST(IpcNamespace, ReadsASegmentThatNobodyHasAttached) {
    const Inhabitant inhabitant([] {
        const int id = ::shmget(0x1234, 5000, IPC_CREAT | 0600);
        auto* memory = static_cast<char*>(::shmat(id, nullptr, 0));
        return std::strcpy(memory + 4096, "text") != nullptr && ::shmdt(memory) == 0;
    });
    auto space = IpcNamespace::of(inhabitant.pid());
    model::Checkpoint checkpoint = checkpoint_of(inhabitant);
    const auto added = space->add_segments(checkpoint, true);
    ASSERT_TRUE(added) << added.error().message();
    const auto shared = checkpoint.shared_memory();
    ASSERT_EQ(shared.size(), 1u);
    EXPECT_EQ(shared.front().bytes, 8192u);
    EXPECT_EQ(shared.front().segment->bytes, 5000u);
    const auto content = os::open(shared.front().segment->source, O_RDONLY);
    std::array<char, 5> text = {};
    ASSERT_TRUE(os::pread_all(content->get(), std::as_writable_bytes(std::span(text)), 4096));
    EXPECT_STREQ(text.data(), "text");
    const os::IpcScope there = *os::IpcScope::enter(space->fd());
    EXPECT_EQ(find_segments()->front().mappings, 0u);
}

TEST(IpcNamespace, WhatCannotBeCarriedIsRefusedByName) {
    const Inhabitant attached(
        [] { return ::shmat(::shmget(0x1234, 4096, IPC_CREAT | 0600), nullptr, 0) != nullptr; });
    model::Checkpoint checkpoint = checkpoint_of(attached);
    auto space = IpcNamespace::of(attached.pid());
    EXPECT_TRUE(space->add_segments(checkpoint, false)) << "it may be of a process not seen yet";
    const auto refused = space->add_segments(checkpoint, true);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message(), HasSubstr("System V shared memory 0 is also attached"));

    const Inhabitant queue([] {
        sigevent event = {};
        event.sigev_notify = SIGEV_THREAD;
        event.sigev_notify_function = [](sigval) {};
        return ::mq_notify(::mq_open("/ferry", O_CREAT, 0600, nullptr), &event) == 0;
    });
    const auto found = IpcNamespace::of(queue.pid())->outline();
    ASSERT_FALSE(found);
    EXPECT_THAT(found.error().message(), HasSubstr("message queue /ferry: a thread of process"));
}

bool send(int queue, std::string_view text, unsigned priority) {
    return ::mq_send(queue, text.data(), text.size(), priority) == 0;
}

// One that is full, with priorities; one that nobody has a name for; an empty one.
bool make_queues() {
    mq_attr limits = {};
    limits.mq_maxmsg = 3;
    limits.mq_msgsize = 100;
    const int full = ::mq_open("/full", O_CREAT | O_RDWR, 0600, &limits);
    if (::fchown(full, 7, 8) != 0) return false;
    const int unlinked = ::mq_open("/unlinked", O_CREAT | O_RDWR, 0600, &limits);
    return send(full, "low", 0) && send(full, "high", 32767) && send(full, "", 32767) &&
           send(unlinked, "left", 1) && ::mq_unlink("/unlinked") == 0 &&
           ::mq_open("/empty", O_CREAT | O_RDWR, 0640, &limits) >= 0;
}

TEST(PosixQueues, AreReadAndStayAsTheyWere) {
    const Inhabitant there(make_queues);
    const auto space = IpcNamespace::of(there.pid());
    const std::string table = "/proc/" + std::to_string(there.pid().value) + "/fd/";
    const std::vector<std::string> descriptors = *os::list_directory(os::kCwd, table);
    std::vector<OpenQueue> open;
    for (const std::string& fd : descriptors) {
        const auto name = os::readlinkat(os::kCwd, table + fd);
        if (!name || !name->ends_with("unlinked (deleted)")) continue;
        open.push_back({.inode = os::fstatat(os::kCwd, table + fd)->st_ino,
                        .link = table + fd,
                        .name = "/unlinked"});
    }
    ASSERT_EQ(open.size(), 1u);
    auto custody = os::MessageCustody::create();
    ASSERT_TRUE(custody);
    const auto first = space->collect_posix_queues(open, *custody);
    ASSERT_TRUE(first) << first.error().message();
    const auto second = space->collect_posix_queues(open, *custody);
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(first->queues, second->queues);
    ASSERT_EQ(first->queues.size(), 3u);
    std::map<std::string, std::size_t> messages;
    for (const model::PosixQueue& queue : first->queues) {
        messages[queue.name] = queue.messages.size();
    }
    EXPECT_EQ(messages,
              (std::map<std::string, std::size_t>{{"/empty", 0}, {"/full", 3}, {"/unlinked", 1}}));

    const Inhabitant here([] { return true; });
    const auto made = IpcNamespace::of(here.pid());
    const os::IpcScope inside = *os::IpcScope::enter(made->fd());
    PosixQueueOpener opener;
    const auto done = opener.make(first->queues);
    ASSERT_TRUE(done) << done.error().message();
    const auto named = made->collect_posix_queues({}, *custody);
    ASSERT_TRUE(named);
    EXPECT_EQ(named->queues.size(), 2u);
    for (model::PosixQueue queue : named->queues) {
        const auto was = std::ranges::find(first->queues, queue.name, &model::PosixQueue::name);
        ASSERT_NE(was, first->queues.end());
        queue.inode = was->inode;
        EXPECT_EQ(queue, *was);
    }
}

TEST(PosixQueues, WithNewsForSomebodyAreNotEmptied) {
    const Inhabitant there([] {
        const int queue = ::mq_open("/q", O_CREAT | O_RDWR, 0600, nullptr);
        sigevent event = {};
        event.sigev_notify = SIGEV_NONE;
        return send(queue, "left", 1) && ::mq_notify(queue, &event) == 0;
    });
    auto custody = os::MessageCustody::create();
    const auto found = IpcNamespace::of(there.pid())->collect_posix_queues({}, *custody);
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_THAT(found->busy, HasSubstr("message queue /q holds messages, and process"));
}

}  // namespace
}  // namespace ferry::resources
