// A stub thread and a stub process: tasks with the target's ids that run programs for us.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/process.h"
#include "os/fd.h"
#include "os/process.h"
#include "restore/arena.h"
#include "restore/layout.h"
#include "restore/program.h"
#include "trace/tracee.h"

namespace ferry::restore {

// One stub thread. The first thread of a process is reached through a socket whose end (ours
// closed, or we died) ends the process; the others through futexes in the arena. Not movable: owned
// by pointer. The arena must outlive it; the slots are returned by the destructor, so the thread
// must be dead by then or not be in the arena any more.
class StubThread {
  public:
    // `here` is its id, `process_here` its process's, as we see them; `tid` is what it has in the
    // tree.
    StubThread(Arena& arena, Pid process_here, Tid here, Tid tid, SlotRun slots,
               os::UniqueFd socket);
    StubThread(const StubThread&) = delete;
    StubThread& operator=(const StubThread&) = delete;
    ~StubThread();

    [[nodiscard]] Tid tid() const { return tid_; }
    [[nodiscard]] Tid here() const { return here_; }
    [[nodiscard]] Pid process_here() const { return process_here_; }
    // Bytes that one program may have.
    [[nodiscard]] std::size_t capacity() const { return arena_.program_area(slots_).size(); }

    // PTRACE_SEIZE with EXITKILL.
    Result<> seize();
    [[nodiscard]] trace::Tracee& tracee() { return *tracee_; }
    [[nodiscard]] bool is_seized() const { return tracee_.has_value(); }

    // Starts a program, hands over descriptors (the program must receive them, see Receiver).
    Result<> post(const Program& program, std::span<const int> fds = {});
    // Waits for its end; results and data are then in `program`. A failed operation is a System
    // error that names the call.
    Result<> await(Program& program);
    Result<> run(Program& program, std::span<const int> fds = {});
    // Runs the program if it is so big that little more would fit, and clears it.
    Result<> run_if_full(Program& program);
    // Runs it, unless it is empty, and clears it.
    Result<> run_rest(Program& program);

    // The number of the blob's socket in the task; -1 once given up.
    [[nodiscard]] int socket_number() const;
    // The number that the next program moves the socket to (dup3). For -1 the program may close it:
    // its answer, and the doorbells from then on, go by the futexes.
    void set_socket_number(int number);

    // Ends the thread (not a leader) and reaps it.
    Result<> end();

  private:
    Result<> check_alive();
    Result<> await_message(std::uint32_t sequence);
    Result<> await_futex(std::uint32_t sequence);

    Arena& arena_;
    Pid process_here_;
    Tid here_, tid_;
    SlotRun slots_;
    os::UniqueFd socket_;  // our end
    bool answers_by_futex_ = false;
    std::optional<trace::Tracee> tracee_;
};

// Adds the operation that receives descriptors to a program. Use at most os::kScmFdsMax.
class Receiver {
  public:
    Receiver(Program& program, int socket_number, std::size_t count);
    // The number that the i-th descriptor got in the task.
    [[nodiscard]] Load32 fd(std::size_t i) const;

  private:
    Data control_;
};

struct StubProcess {
    Pid pid, parent;     // in the tree
    Pid here;            // as we see it: differs where the tree has a pid namespace of its own
    Pid session, group;  // in the tree, as they are now
    // Model's Terminal::index of its controlling terminal, now; nothing: none that was made for it.
    std::optional<std::uint32_t> terminal;
    // Leads a session or process group that outlives its leader, or is of a zombie that has not
    // ended yet; ends before the tree runs.
    bool is_stand_in = false;
    std::optional<os::PidFd> pidfd;
    std::vector<std::unique_ptr<StubThread>> threads;  // the leader first
    os::UniqueFd memory;                               // /proc/PID/mem
    os::UniqueFd pagemap;                              // /proc/PID/pagemap
    std::vector<MappedVma> mapped;
    // Forked from a stub that may have been filled: equal pages are not written.
    bool shares_pages = false;
    // What release() does: stops it, and whether its parent has SIGCHLD pending anyway.
    std::optional<model::GroupStop> stop;
    bool has_child_signal = false;

    [[nodiscard]] StubThread& leader() { return *threads.front(); }
};

}  // namespace ferry::restore
