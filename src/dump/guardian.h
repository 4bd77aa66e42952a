// Takes sockets out of TCP_REPAIR when we die with them in it (I1), for one. A socket in repair
// mode is deaf and dumb; nobody else would ever end that, and the service would hang on it.
//
// A tiny process, made by clone(CLONE_FILES), shares our descriptor table and waits for our end.
// When we end uncleanly it ends the repair of every registered descriptor that is in it, puts
// messages of queues back (os/message_custody.h), and exits.
// Sharing the table also keeps our other descriptors open until then: a network hold outlives the
// repair, not the other way round. It has a session of its own, so no signal to our group reaches
// it.
//
// What wakes it is a robust futex that our thread owns. The kernel gives such a futex up when it
// takes our memory away (exit_mm), which is before it lets go of the tasks that we trace
// (exit_notify): the guardian, which runs before ordinary tasks, is at work when they wake up. A
// pidfd would tell it afterwards.
//
// It also sees to it that a tree whose fate is being decided elsewhere does not go on by itself
// when we die (I2): it is left in SIGSTOP, or ends.
//
// Owned by the dumping session, used on its one thread, which traces. The destructor ends the
// process. Source relied upon: clone(2), pidfd_open(2), tcp(7) TCP_REPAIR, get_robust_list(2),
// pthread_mutexattr_setrobust(3), kernel/exit.c do_exit() of Linux 6.18.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "os/fd.h"
#include "os/memory.h"
#include "os/message_custody.h"
#include "os/process.h"
#include "resources/files.h"

namespace ferry::dump {

class Guardian : public resources::RepairRegistry {
  public:
    static Result<std::unique_ptr<Guardian>> start();
    Guardian(const Guardian&) = delete;
    Guardian& operator=(const Guardian&) = delete;
    ~Guardian() override;

    void add(int fd, bool reuse_address) override;
    void remove(int fd) override;

    // What becomes of the tree when we die.
    enum class Verdict : std::uint8_t {
        LetRun,        // the kernel thaws it with our end
        LeaveStopped,  // as LetRun: a SIGSTOP waits for it already (Frozen::hold)
        // As LeaveStopped, but where a group is aborted (decide_as) it goes on.
        AsDecided,
        Kill,  // SIGKILL, sockets in repair before it: peers see neither FIN nor RST
    };
    // The descriptors are pidfds of ours, which stay open as long as this verdict holds. Limit: too
    // many.
    Result<> decide(Verdict verdict, std::span<const int> pidfds);
    // AsDecided: `decision` is where a symbolic link says "commit" or "abort" once that is known.
    // If it is not when we die, the guardian makes it say "abort".
    Result<> decide_as(const std::string& decision, std::span<const int> pidfds);

    // What is in there when we die goes back to where it was before anything else is done.
    [[nodiscard]] os::MessageCustody& custody() { return custody_; }

    [[nodiscard]] pid_t pid() const { return pid_; }

  private:
    explicit Guardian(os::MessageCustody custody) : custody_(std::move(custody)) {}

    os::MessageCustody custody_;
    os::Mapping memory_;
    os::UniqueFd parent_;  // a pidfd that the guardian polls, in the table that both share
    pid_t pid_ = 0;
};

}  // namespace ferry::dump
