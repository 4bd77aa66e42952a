// All stubs of one tree, and how they are made and ended.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "model/checkpoint.h"
#include "os/pid_namespace.h"
#include "os/scope.h"
#include "resources/ipc_namespace.h"
#include "restore/arena.h"
#include "restore/shared_memory.h"
#include "restore/staged_tree.h"
#include "restore/stub.h"
#include "restore/terminals.h"

namespace ferry::restore {

// The vdso of our kernel as it lies parked behind the arena in every stub.
struct ParkedVdso {
    std::vector<std::uint64_t>
        data_bytes;                // [vvar], [vvar_vclock], in the order of their addresses
    std::uint64_t text_bytes = 0;  // behind them
};

// Not movable: the threads refer to the arena. The destructor kills and reaps every stub.
class Tree {
  public:
    // Makes the first stub, with an empty address space.
    static Result<std::unique_ptr<Tree>> create(const model::Checkpoint& skeleton,
                                                const StageOptions& options);
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;
    ~Tree();

    // Makes the processes and threads that are in the skeleton and not here, ends those that are
    // not in it, and puts everything into its session and process group. Zombies are not made.
    Result<> follow(const model::Checkpoint& skeleton);
    // Makes those zombies that pidfds refer to, which live until make_zombie(). After follow().
    Result<> stand_in_for_zombies(const model::Checkpoint& final);
    // A child of `parent` that has ended with this wait status.
    Result<> make_zombie(const model::Process& zombie);
    // Ends the leaders of sessions and groups that have none left. After the zombies.
    Result<> end_stand_ins();

    // nullptr: no such process.
    [[nodiscard]] StubProcess* find(Pid pid);
    [[nodiscard]] std::vector<StubProcess*> processes();  // parents before children
    [[nodiscard]] Arena& arena() { return arena_; }
    [[nodiscard]] SharedMemories& shared_memory() { return shared_memory_; }
    [[nodiscard]] Terminals& terminals() { return terminals_; }
    // After the zombies, while every leader is there.
    Result<> set_foreground(const model::Checkpoint& final);
    [[nodiscard]] const OpenGhost& open_ghost() const { return options_.open_ghost; }
    [[nodiscard]] const ParkedVdso& vdso() const { return vdso_; }
    // Where the paths of the tree lead from (os::RootScope); -1: from our root.
    [[nodiscard]] int root_directory() const { return root_directory_.get(); }
    // Root of its user namespace (os::UserScope); nothing: that is ours.
    [[nodiscard]] const std::optional<os::UserIds>& root_user() const { return root_user_; }
    // The tree's own; nothing: it lives in ours.
    [[nodiscard]] const std::optional<resources::IpcNamespace>& ipc() const { return ipc_; }
    // As we see it.
    [[nodiscard]] Pid root_here() const { return processes_.front()->here; }

    // From now on a fork brings pages that only a child of its parent's may have.
    void note_pages() { has_pages_ = true; }

    // The tasks run on by themselves: nothing is left to kill.
    void disown();

  private:
    Tree(Arena arena, StageOptions options)
        : arena_(std::move(arena)), options_(std::move(options)) {}

    Result<> make_root(const model::Process& root);
    // Both give the root's pid as we see it.
    Result<Pid> fork_root(const model::Process& root, SlotRun slots, int socket);
    Result<Pid> start_root(const model::Process& root, SlotRun slots, int socket);
    Result<> empty_address_space(StubProcess& process);
    // Those that a started root has kept.
    Result<> close_streams();
    Result<> start_session(const model::Checkpoint& skeleton, const model::Process& wanted);
    Result<> fork_process(const model::Process& wanted);
    Result<StubProcess*> origin_of(const model::Process& wanted);
    Result<StubProcess*> stand_in_for(Pid leader, const model::Process& member, bool of_session);
    bool is_led_from_outside(Pid leader) const;
    Result<> keep_or_end(StubProcess& process, const model::Checkpoint& skeleton);
    Result<> end_zombie(StubThread& stub, const os::PidFd& pidfd, const model::Process& zombie);
    Result<> fork_from(StubProcess& origin, Pid pid, bool sibling, SlotRun slots, int socket);
    Result<> adopt(StubProcess process, SlotRun slots, os::UniqueFd socket);
    Result<> join_groups(const model::Checkpoint& skeleton);
    Result<> match_threads(StubProcess& process, const model::Process& wanted);
    Result<> end_process(StubProcess& process);
    void kill_all() noexcept;

    Arena arena_;
    StageOptions options_;
    ParkedVdso vdso_;
    SharedMemories shared_memory_;
    Terminals terminals_;
    os::PidNamespace pids_;  // the tree's
    os::UniqueFd root_directory_;
    std::optional<os::UserIds> root_user_;
    std::optional<resources::IpcNamespace> ipc_;
    std::vector<std::unique_ptr<StubProcess>> processes_;  // in the order of their making
    std::vector<Pid> zombies_;                             // as we see them
    const model::Checkpoint* skeleton_ = nullptr;          // that follow() works on
    bool has_pages_ = false;
    bool has_closed_streams_ = false;
};

}  // namespace ferry::restore
