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

#include <array>
#include <cstring>
#include <functional>

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

    const Inhabitant queue([] { return ::mq_open("/ferry", O_CREAT, 0600, nullptr) >= 0; });
    const auto found = IpcNamespace::of(queue.pid())->outline();
    ASSERT_FALSE(found);
    EXPECT_THAT(found.error().message(), HasSubstr("message queue /ferry"));
}

}  // namespace
}  // namespace ferry::resources
