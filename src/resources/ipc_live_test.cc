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

#include <functional>

#include "os/fd.h"
#include "resources/ipc_namespace.h"

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

std::string complaint(const std::function<bool()>& make) {
    const Inhabitant inhabitant(make);
    const auto checked = IpcNamespace::of(inhabitant.pid())->outline();
    return checked ? std::string() : checked.error().message();
}

TEST(IpcNamespace, NothingIsLostInSilence) {
    EXPECT_EQ(complaint([] { return true; }), "");
    EXPECT_THAT(complaint([] { return ::shmget(0x1234, 4096, IPC_CREAT | 0600) >= 0; }),
                HasSubstr("System V shared memory 0 (key 0x1234)"));
    EXPECT_THAT(complaint([] { return ::mq_open("/ferry", O_CREAT, 0600, nullptr) >= 0; }),
                HasSubstr("message queue /ferry"));
}

}  // namespace
}  // namespace ferry::resources
