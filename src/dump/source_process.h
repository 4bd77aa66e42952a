// What Ferry remembers of one process of the tree from one look to the next, so that each look, and
// above all the one in the freeze, only reads what can have changed.
#pragma once

#include <functional>
#include <memory>
#include <set>

#include "arch/signal_frame.h"
#include "base/error.h"
#include "base/types.h"
#include "dump/preflight.h"
#include "model/process.h"
#include "os/fd.h"
#include "os/process.h"
#include "proc/process_directory.h"
#include "resources/file_lock.h"
#include "resources/files.h"
#include "resources/memory_layout.h"
#include "trace/freeze.h"
#include "trace/remote_calls.h"

namespace ferry::dump {

class SourceProcess {
  public:
    // Looks at the process for the first time: preflight, mappings, gadgets. Refuses by name.
    // `parent`: what is known of its parent, or nullptr.
    static Result<SourceProcess> open(Pid pid, const Home& home, const SourceProcess* parent);

    [[nodiscard]] Pid pid() const { return pid_; }
    [[nodiscard]] const proc::ProcessDirectory& directory() const { return *directory_; }
    // False once the process has ended, or has replaced its program by execve(2): all that is
    // remembered is void.
    [[nodiscard]] bool is_still(const proc::Stat& stat) const;

    // Outside the freeze: ids, mappings, attributes. Registers every file that the process's
    // memory, cwd and root refer to.
    Result<model::Process> outline(const proc::Stat& stat, resources::FileCollector& files);
    // In the freeze, in any thread: what collect() would begin with, which the kernel takes long to
    // write for a process with many mappings.
    void read_ahead() { layout_.read_ahead(); }
    // In the freeze: everything but descriptors. `mappings_time` grows by what mappings took.
    Result<model::Process> collect(trace::FrozenProcess& frozen, resources::FileCollector& files,
                                   std::chrono::microseconds& mappings_time);
    // In the freeze, after collect(): what it owes to semaphores of its IPC namespace. Unsupported:
    // a thread of its own owes something else. `debtless`: a process that has nothing to undo.
    Result<> collect_undo(trace::FrozenProcess& frozen, const model::IpcNamespace& ipc,
                          Pid debtless, model::Process& process);
    // In the freeze: makes this call for each of these locks that is its own.
    Result<> call_for_locks(trace::FrozenProcess& frozen, std::span<const model::FileLock> locks,
                            resources::LockCall (*call)(const model::FileLock&));
    // In the freeze, once no request can be under way: what the rings of its aio contexts hold.
    Result<> collect_aio(model::Process& process) const;
    // In the freeze: whether it has waited for the stop of this child, by the id that it knows.
    Result<bool> has_noticed_stop(trace::FrozenProcess& frozen, Pid child) const;
    // A short stop of one thread. Nothing stays in the process.
    Result<os::UniqueFd> make_userfaultfd();

  private:
    SourceProcess(Pid pid, std::unique_ptr<proc::ProcessDirectory> directory, const Home& home);
    Result<> ask_threads(trace::FrozenProcess& frozen, model::Process& process);
    trace::StackRooms rooms_beside(const trace::Tracee& stopped) const;
    Result<trace::StackPlace> find_place(trace::StackRooms& rooms,
                                         const trace::Tracee& stopped) const;
    // Unsupported: other threads run, and there is no room that is not theirs.
    Result<trace::RemoteCalls> borrow(trace::Tracee& stopped, bool others_run = false) const;
    Result<> borrow_some_thread(const std::function<Result<>(trace::RemoteCalls&)>& work);
    template <class Borrow>
    Result<> check_aio(const model::AddressSpace& space, Borrow borrow);
    Result<> collect_mappings(resources::FileCollector& files, model::Process& process);

    Pid pid_;
    std::unique_ptr<proc::ProcessDirectory> directory_;  // layout_ points to it
    resources::MemoryLayout layout_;
    bool is_fresh_ = false;  // layout_ was read a moment ago
    arch::Gadgets gadgets_;
    std::uint64_t start_time_ = 0, start_stack_ = 0;
    model::Process last_;                   // as of the last outline
    std::set<std::uint64_t> aio_contexts_;  // rings known to be its own
};

// The ids of a process out of its stat line.
void set_ids(const proc::Stat& stat, model::Process& process);

}  // namespace ferry::dump
