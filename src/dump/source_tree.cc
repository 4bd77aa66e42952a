#include "dump/source_tree.h"

#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "dump/guardian.h"
#include "dump/opening.h"
#include "dump/outsiders.h"
#include "dump/preflight.h"
#include "dump/source_process.h"
#include "dump/tree_walk.h"
#include "os/description.h"
#include "os/fd.h"
#include "os/pid_namespace.h"
#include "os/schedule.h"
#include "os/task.h"
#include "proc/process_directory.h"
#include "proc/vdso.h"
#include "resources/aio.h"
#include "resources/clocks.h"
#include "resources/descriptor_room.h"
#include "resources/ipc_namespace.h"
#include "resources/process_state.h"
#include "resources/shared_ipc.h"
#include "resources/user_ids.h"
#include "trace/freeze.h"

namespace ferry::dump {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::microseconds between(Clock::time_point begin, Clock::time_point end) {
    return std::chrono::duration_cast<std::chrono::microseconds>(end - begin);
}

bool is_gone(const Error& error) {
    return error.kind() == Error::Kind::Gone;
}

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

// What the source's kernel is, for the destination to compare.
Result<model::Checkpoint> host_of_checkpoint() {
    model::Checkpoint host;
    host.vdso_hash = TRY(proc::vdso_hash());
    host.boot_id = first_line(TRY(os::read_file("/proc/sys/kernel/random/boot_id")));
    host.kernel_release = first_line(TRY(os::read_file("/proc/sys/kernel/osrelease")));
    return host;
}

// A controlling terminal whose master is elsewhere is left behind where the tree is a job of a
// shell.
Result<> check_terminals(model::Checkpoint& checkpoint, bool shell_job) {
    for (model::Process& process : checkpoint.processes) {
        if (!process.terminal) continue;
        const auto terminal =
            std::ranges::find(checkpoint.terminals, *process.terminal, &model::Terminal::index);
        if (terminal != checkpoint.terminals.end() && terminal->session == process.session.value) {
            continue;
        }
        if (!shell_job) {
            return fail(Error::unsupported(fmt::format(
                "process {} has the controlling terminal /dev/pts/{}, whose master is outside of "
                "the tree: start it with setsid, or use --shell-job",
                process.pid, *process.terminal)));
        }
        process.terminal.reset();
    }
    return {};
}

}  // namespace

struct SourceTree::Impl {
    Pid root;
    SourceOptions options;
    os::PidFd root_fd;
    Home home;
    os::PidNamespace pids;
    model::Renumbering inside;  // ids of the container's tasks, groups and sessions: ours to theirs
    model::Checkpoint host;     // only its host part is filled in
    std::shared_ptr<Guardian> guardian;
    // Shared with Frozen, whose end lets connections go on. Declared after the guardian, which
    // it reports to.
    std::shared_ptr<resources::FileCollector> files;
    std::map<Pid, SourceProcess> processes;
    Outsiders outsiders;
    std::optional<resources::IpcNamespace> ipc;  // if it is the tree's own
    bool pins_in_the_way = false;                // the last collect() has waited in vain

    // As the tree sees them now.
    Result<model::Clocks> clocks() const {
        const model::ClockOffsets ours = TRY(resources::clock_offsets_of(Pid{::getpid()}));
        const model::ClockOffsets theirs =
            home.has_own_time ? TRY(resources::clock_offsets_of(root)) : ours;
        return model::Clocks{
            .seen = resources::seen_through(TRY(resources::clocks_now()), ours, theirs),
            .offsets = theirs,
            .own_namespace = home.has_own_time};
    }

    // The remembered process, or a new one where there is none yet, or where it is not the same any
    // more.
    Result<SourceProcess*> remember(Pid pid, const proc::Stat& stat) {
        auto at = processes.find(pid);
        if (at != processes.end() && !at->second.is_still(stat)) {
            processes.erase(at);
            at = processes.end();
        }
        if (at == processes.end()) {
            const auto parent = processes.find(stat.parent);
            at =
                processes
                    .emplace(pid,
                             TRY(SourceProcess::open(
                                 pid, home, parent == processes.end() ? nullptr : &parent->second)))
                    .first;
        }
        return &at->second;
    }

    Result<> call_for_locks(trace::Freeze& freeze, std::span<const model::FileLock> locks,
                            resources::LockCall (*call)(const model::FileLock&)) {
        for (trace::FrozenProcess& process : freeze.processes()) {
            const bool holds =
                std::ranges::find(locks, process.pid, &model::FileLock::pid) != locks.end();
            if (!holds) continue;
            const auto known = processes.find(process.pid);
            CHECK(known != processes.end());
            TRY(known->second.call_for_locks(process, locks, call));
        }
        return {};
    }

    Result<model::Process> outline_living(const Found& found) {
        SourceProcess* process = TRY(remember(found.pid, found.stat));
        return process->outline(found.stat, *files);
    }

    // Reads everything of one process of a skeleton; nothing if it has ended. A process that ends
    // while it is read shows in many ways, such as an empty address space; what it unmaps meanwhile
    // is gone.
    Result<std::optional<model::Process>> outline(const Found& found) {
        constexpr int kLooks = 10;
        model::Process process;
        set_ids(found.stat, process);
        if (!process.is_zombie) {
            auto outlined = outline_living(found);
            for (int look = 1; look < kLooks && !outlined && is_gone(outlined.error()); ++look) {
                if (has_ended(found)) return std::nullopt;
                outlined = outline_living(found);
            }
            if (!outlined && has_ended(found)) return std::nullopt;
            if (!outlined) return fail(std::move(outlined.error()));
            process = std::move(*outlined);
        }
        process.parent = found.parent;
        const auto known = learn_numbers(process);
        if (!known && is_gone(known.error())) return std::nullopt;
        if (!known) return fail(known.error());
        return process;
    }

    // While they are there to be asked for. Threads that have ended since are taken out; Gone: the
    // process has.
    Result<> learn_numbers(model::Process& process) {
        if (!home.is_container) return {};
        inside[process.pid.value] = TRY(pids.theirs(leader_of(process.pid))).value;
        std::optional<Error> error;
        std::erase_if(process.threads, [&](const model::Thread& thread) {
            const auto theirs = pids.theirs(thread.tid);
            if (theirs) inside[thread.tid.value] = theirs->value;
            if (!theirs && !is_gone(theirs.error())) error = theirs.error();
            return !theirs;
        });
        if (error) return fail(std::move(*error));
        const auto directory = TRY(proc::ProcessDirectory::open(process.pid));
        const proc::Status status = TRY(directory.status());
        // A group or session may have lost its leader; its members still know the id.
        if (!status.ns_groups.empty()) inside[process.group.value] = status.ns_groups.back();
        if (!status.ns_sessions.empty()) inside[process.session.value] = status.ns_sessions.back();
        return {};
    }

    // What is seen for the first time; whatever fails is tried, and told, by outline().
    void meet(const std::vector<Found>& found) {
        std::vector<Newcomer> newcomers;
        for (const Found& one : found) {
            const auto known = processes.find(one.pid);
            if (known != processes.end() || one.stat.is_zombie()) continue;
            const auto parent = processes.find(one.parent);
            newcomers.push_back(
                {.pid = one.pid,
                 .parent = one.parent,
                 .known_parent = parent == processes.end() ? nullptr : &parent->second});
        }
        processes.merge(open_together(newcomers, home));
    }

    Result<model::Checkpoint> skeleton_of(const std::vector<Found>& found);

    // Only the parent itself can ask whether it has noticed. One outside of the tree has, or will.
    Result<> ask_parents(trace::Freeze& freeze, model::Checkpoint& checkpoint) {
        for (model::Process& process : checkpoint.processes) {
            trace::FrozenProcess* parent = process.stop ? freeze.find(process.parent) : nullptr;
            if (parent == nullptr || parent->is_zombie) continue;
            const auto known = inside.find(process.pid.value);
            const Pid called = known == inside.end() ? process.pid : Pid{known->second};
            process.stop->noticed =
                TRY(processes.at(parent->pid).has_noticed_stop(*parent, called));
        }
        return {};
    }

    // The last thing to be collected, so that requests have had time to end.
    Result<> collect_aio(Collected& collected) {
        constexpr std::chrono::milliseconds kTimeout{20};
        const auto is_ring = [](const model::Vma& vma) {
            return vma.kind == model::VmaKind::AioRing;
        };
        bool ended = false;
        for (model::Process& process : collected.checkpoint.processes) {
            if (std::ranges::none_of(process.address_space.vmas, is_ring)) continue;
            ended = ended || TRY(resources::await_no_transfers(kTimeout));
            if (!ended) {
                pins_in_the_way = true;
                collected.busy =
                    fmt::format("process {} has an aio context, and pages are pinned for a device",
                                process.pid);
                return {};
            }
            TRY(processes.at(process.pid).collect_aio(process));
        }
        return {};
    }

    Result<> collect_queues(std::span<const resources::OpenQueue> open, Collected& collected) {
        if (!ipc) return {};
        resources::PosixQueues found = TRY(ipc->collect_posix_queues(open, guardian->custody()));
        collected.busy = std::move(found.busy);
        for (const model::PosixQueue& queue : found.queues) {
            if (!queue.notification) continue;
            const Pid owner = queue.notification->pid;
            const model::Process* process = collected.checkpoint.find_process(owner);
            if (process == nullptr) {
                return fail(Error::unsupported(
                    fmt::format("message queue {}: process {}, which is outside of the tree, is to "
                                "be told of its next message",
                                queue.name, owner)));
            }
            TRY(resources::check_notification(queue, *process));
        }
        collected.checkpoint.ipc->posix_queues = std::move(found.queues);
        return {};
    }

    Result<model::Process> collect(trace::FrozenProcess& frozen,
                                   const std::optional<model::IpcNamespace>& found,
                                   std::chrono::microseconds& maps) {
        const proc::Stat stat = TRY(frozen.directory.stat());
        if (frozen.is_zombie) {
            model::Process process;
            set_ids(stat, process);
            process.parent = frozen.parent;
            TRY(learn_numbers(process));
            return process;
        }
        if (frozen.parent.value != 0 && TRY(shares_memory(frozen.pid, frozen.parent))) {
            return refuse_shared_memory(frozen.pid, frozen.parent);
        }
        SourceProcess* remembered = TRY(remember(frozen.pid, stat));
        model::Process process = TRY(remembered->collect(frozen, *files, maps));
        if (found) TRY(remembered->collect_undo(frozen, *found, Pid{guardian->pid()}, process));
        if (frozen.stop_signal != 0) process.stop = model::GroupStop{.signal = frozen.stop_signal};
        TRY(learn_numbers(process));
        return process;
    }
};

// Reads of one process after the other what its collection begins with, while the one before is
// asked: the questions keep one processor busy.
class ReadingAhead {
  public:
    // `processes`: nullptr where nothing is known yet. They outlive this object, or have been
    // awaited.
    explicit ReadingAhead(std::vector<SourceProcess*> processes)
        : processes_(std::move(processes)), done_(processes_.size()), thread_([this] {
              for (std::size_t i = 0; i < processes_.size(); ++i) {
                  if (processes_[i] != nullptr) processes_[i]->read_ahead();
                  done_[i].set_value();
              }
          }) {}
    // Before process number `i` is touched. Once each.
    void await(std::size_t i) { done_[i].get_future().wait(); }

  private:
    std::vector<SourceProcess*> processes_;
    std::vector<std::promise<void>> done_;
    std::jthread thread_;  // ends first
};

struct Frozen::Impl {
    os::Urgency urgency;  // of the thread that froze; ends last
    trace::Freeze freeze;
    std::shared_ptr<Guardian> guardian;  // before the files, which report to it
    std::shared_ptr<resources::FileCollector> files;
    std::vector<Pid> pids;
    bool held = false;

    // Connections are themselves again before the first thread can use them.
    ~Impl() {
        if (files) files->rollback();
        if (held) tolerate(let_go());
    }

    static void tolerate(const Result<>& result) {
        if (!result) log_debug("{}, ignoring: nobody is left to tell", result.error().message());
    }

    [[nodiscard]] std::vector<int> pidfds() const {
        std::vector<int> fds;
        for (const trace::FrozenProcess& process : freeze.processes()) {
            if (!process.is_zombie) fds.push_back(process.pidfd.get());
        }
        return fds;
    }

    // One that is stopped anyway stays so.
    static bool is_going(const trace::FrozenProcess& process) {
        return !process.is_zombie && process.stop_signal == 0;
    }
    Result<> signal_all(int signal) {
        for (const trace::FrozenProcess& process : freeze.processes()) {
            if (!is_going(process)) continue;
            const auto sent = process.pidfd.send_signal(signal);
            if (!sent && !is_gone(sent.error())) return sent;
        }
        return {};
    }

    // SIGCONT removes the SIGSTOP that waits, even while the threads stand in trace stops.
    Result<> let_go() {
        if (!std::exchange(held, false)) return {};
        TRY(guardian->decide(Guardian::Verdict::LetRun, {}));
        return signal_all(SIGCONT);
    }
};

Frozen::Frozen(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Frozen::Frozen(Frozen&&) noexcept = default;
Frozen& Frozen::operator=(Frozen&&) noexcept = default;
Frozen::~Frozen() = default;

const std::vector<Pid>& Frozen::pids() const {
    return impl_->pids;
}

std::vector<Pid> Frozen::going() const {
    std::vector<Pid> going;
    for (const trace::FrozenProcess& process : impl_->freeze.processes()) {
        if (Impl::is_going(process)) going.push_back(process.pid);
    }
    return going;
}

Clock::time_point Frozen::since() const {
    return impl_->freeze.since();
}

Result<> Frozen::hold() {
    // Told first: with the signal queued, the tree must not be let run by a verdict of before.
    TRY(impl_->guardian->decide(Guardian::Verdict::LeaveStopped, impl_->pidfds()));
    impl_->held = true;
    return impl_->signal_all(SIGSTOP);
}

Result<> Frozen::hold_until(const std::string& decision) {
    TRY(impl_->guardian->decide_as(decision, impl_->pidfds()));
    impl_->held = true;
    return impl_->signal_all(SIGSTOP);
}

Result<> Frozen::condemn() {
    CHECK(impl_->held);
    return impl_->guardian->decide(Guardian::Verdict::Kill, impl_->pidfds());
}

Result<> Frozen::thaw() && {
    const std::unique_ptr<Impl> impl = std::move(impl_);
    impl->files->rollback();
    TRY(impl->let_go());
    return std::move(impl->freeze).thaw();
}

Result<> Frozen::leave_stopped() && {
    const std::unique_ptr<Impl> impl = std::move(impl_);
    impl->files->rollback();
    if (std::exchange(impl->held, false)) {
        TRY(impl->guardian->decide(Guardian::Verdict::LetRun, {}));
    }
    return std::move(impl->freeze).leave_stopped();
}

Result<> Frozen::kill() && {
    // Were we killed between here and the end, the tasks would use what cannot speak any more.
    if (!impl_->held) {
        TRY(hold());
        TRY(condemn());
    }
    const std::unique_ptr<Impl> impl = std::move(impl_);
    impl->held = false;
    impl->files->silence();
    const std::shared_ptr<resources::FileCollector> files = std::exchange(impl->files, nullptr);
    const Result<> killed = std::move(impl->freeze).kill();
    // The pidfds that the guardian knows are closed now.
    TRY(impl->guardian->decide(Guardian::Verdict::LetRun, {}));
    return killed;
}

SourceTree::SourceTree(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SourceTree::SourceTree(SourceTree&&) noexcept = default;
SourceTree& SourceTree::operator=(SourceTree&&) noexcept = default;
SourceTree::~SourceTree() = default;

const std::set<std::string>& SourceTree::network_devices() const {
    return impl_->files->network_devices();
}

Pid SourceTree::root() const {
    return impl_->root;
}

Result<SourceTree> SourceTree::open(Pid root, const SourceOptions& options) {
    TRY(check_root(root));
    // Before there are other threads.
    TRY(resources::make_room_for_descriptors());
    auto impl = std::make_unique<Impl>(Impl{.root = root,
                                            .options = options,
                                            .root_fd = TRY(os::PidFd::open(root)),
                                            .home = TRY(find_home(root, options.is_container)),
                                            .pids = {},
                                            .inside = {},
                                            .host = TRY(host_of_checkpoint()),
                                            .guardian = nullptr,
                                            .files = nullptr,
                                            .processes = {},
                                            .outsiders = {},
                                            .ipc = {},
                                            .pins_in_the_way = false});
    const std::vector<Found> found = TRY(walk(root));
    TRY(check_session(found.front().stat, pids_of(found), options.files.shell_job));
    impl->guardian = TRY(Guardian::start());
    if (impl->home.has_own_ipc) impl->ipc = TRY(resources::IpcNamespace::of(root));
    resources::FileOptions files = options.files;
    if (impl->home.is_container) {
        impl->pids = TRY(os::PidNamespace::of(root));
        files.container = root;
    }
    files.message_queues = impl->home.has_own_ipc;
    impl->files = std::make_shared<resources::FileCollector>(files, impl->guardian.get());
    SourceTree tree(std::move(impl));
    TRY(tree.skeleton());
    return tree;
}

Result<model::Checkpoint> SourceTree::skeleton() {
    // Others on this host may keep pages pinned without a pause for as long as a second (a
    // migration's reads do): better waited for while the tree runs.
    constexpr std::chrono::milliseconds kPatience{1500};
    if (std::exchange(impl_->pins_in_the_way, false)) {
        TRY(resources::await_no_transfers(kPatience));
    }
    // A process that is forked meanwhile may hold what then seems to lead out of the tree.
    constexpr int kLooks = 5;
    for (int look = 1;; ++look) {
        std::vector<Found> found = TRY(walk(impl_->root));
        TRY(leave_out_vforked(found));
        auto skeleton = impl_->skeleton_of(found);
        if (skeleton || look == kLooks) return skeleton;
        if (pids_of(TRY(walk(impl_->root))) == pids_of(found)) return skeleton;
    }
}

Result<model::Checkpoint> SourceTree::Impl::skeleton_of(const std::vector<Found>& found) {
    model::Checkpoint checkpoint = host;
    checkpoint.clocks = TRY(clocks());  // first, as model/clocks.h says
    if (ipc) checkpoint.ipc = TRY(ipc->outline());
    files->begin_paths();
    std::vector<Pid> living;
    meet(found);
    std::set<Pid> ended;
    for (const Found& process : found) {
        // Whose parent has ended meanwhile has another one by now: the next look finds out.
        const bool is_orphan = ended.contains(process.parent);
        auto outlined = is_orphan ? std::nullopt : TRY(outline(process));
        if (!outlined && process.pid == root) {
            return fail(Error::gone(fmt::format("process {} has ended", root)));
        }
        if (!outlined) {
            ended.insert(process.pid);
            continue;
        }
        if (!outlined->is_zombie) living.push_back(process.pid);
        checkpoint.processes.push_back(std::move(*outlined));
    }
    if (!ipc) TRY(resources::check_shared_ipc(living));
    TRY(files->prepare(living));
    checkpoint.files = TRY(files->path_files());
    checkpoint.ghosts = files->path_ghosts();
    checkpoint.terminals = files->terminals();
    TRY(check_terminals(checkpoint, options.files.shell_job));
    if (ipc) TRY(ipc->add_segments(checkpoint, false));
    TRY(outsiders.check(checkpoint));
    std::erase_if(processes, [&](const auto& known) {
        return std::ranges::find(living, known.first) == living.end();
    });
    return checkpoint;
}

Result<os::UniqueFd> SourceTree::make_userfaultfd(Pid pid) {
    const auto at = impl_->processes.find(pid);
    if (at == impl_->processes.end()) {
        return fail(Error::gone(fmt::format("process {} is not in the tree", pid)));
    }
    return at->second.make_userfaultfd();
}

Result<> SourceTree::number_from_inside(model::Checkpoint& checkpoint) const {
    if (!impl_->home.is_container) return {};
    model::renumber(checkpoint, impl_->inside);
    return {};
}

Result<Pid> SourceTree::number_from_inside(Pid pid) const {
    if (!impl_->home.is_container) return pid;
    const auto found = impl_->inside.find(pid.value);
    if (found != impl_->inside.end()) return Pid{found->second};
    return fail(Error::gone(fmt::format("process {} is not in the tree", pid)));
}

Result<Frozen> SourceTree::freeze(const StopFirst& first) {
    StopFirst known = {.pids = {}, .then = first.then};
    for (const Pid pid : first.pids) {
        if (impl_->processes.contains(pid)) known.pids.push_back(pid);
    }
    std::vector<Pid> expected;
    for (const auto& [pid, process] : impl_->processes) expected.push_back(pid);
    std::unique_ptr<Frozen::Impl> frozen(
        new Frozen::Impl{.urgency = {},
                         .freeze = TRY(trace::Freeze::stop(impl_->root, expected, known)),
                         .guardian = impl_->guardian,
                         .files = impl_->files,
                         .pids = {}});
    for (const auto& process : frozen->freeze.processes()) frozen->pids.push_back(process.pid);
    log_debug("{} threads of {} processes stopped in {} us", frozen->freeze.thread_count(),
              frozen->pids.size(), between(frozen->freeze.since(), Clock::now()).count());
    return Frozen(std::move(frozen));
}

Result<Collected> SourceTree::collect(Frozen& frozen) {
    CHECK(frozen.impl_ != nullptr);
    Collected collected;
    collected.checkpoint = impl_->host;
    model::Checkpoint& checkpoint = collected.checkpoint;
    if (impl_->ipc) checkpoint.ipc = TRY(impl_->ipc->collect());
    const Clock::time_point begun = Clock::now();
    collected.times.stop = between(frozen.since(), begun);
    impl_->files->begin_collect();
    std::vector<Pid> living;
    std::vector<SourceProcess*> known;
    for (const trace::FrozenProcess& process : frozen.impl_->freeze.processes()) {
        const auto at = impl_->processes.find(process.pid);
        const bool is_read = !process.is_zombie && at != impl_->processes.end();
        known.push_back(is_read ? &at->second : nullptr);
    }
    ReadingAhead reading(std::move(known));
    std::size_t number = 0;
    for (trace::FrozenProcess& process : frozen.impl_->freeze.processes()) {
        reading.await(number++);
        auto collected_process = impl_->collect(process, checkpoint.ipc, collected.times.mappings);
        // Whoever has it for a child by now, outside of the tree, has reaped it.
        const bool is_reaped =
            !collected_process && process.is_zombie && is_gone(collected_process.error());
        if (is_reaped) continue;
        checkpoint.processes.push_back(TRY(std::move(collected_process)));
        if (!process.is_zombie) living.push_back(process.pid);
    }
    if (impl_->ipc) TRY(impl_->ipc->add_segments(checkpoint, true));
    TRY(impl_->ask_parents(frozen.impl_->freeze, checkpoint));
    const Clock::time_point tasks_done = Clock::now();
    collected.times.tasks = between(begun, tasks_done) - collected.times.mappings;

    resources::CollectedFiles files = TRY(impl_->files->collect(living));
    collected.busy = std::move(files.busy);
    collected.waiting = std::move(files.waiting);
    checkpoint.files = std::move(files.files);
    checkpoint.pipes = std::move(files.pipes);
    checkpoint.ghosts = std::move(files.ghosts);
    checkpoint.locks = std::move(files.locks);
    checkpoint.terminals = std::move(files.terminals);
    // A busy tree is told without its files.
    if (collected.busy.empty()) {
        TRY(check_terminals(checkpoint, impl_->options.files.shell_job));
    }
    for (resources::ProcessFiles& of_process : files.processes) {
        const auto at =
            std::ranges::find(checkpoint.processes, of_process.pid, &model::Process::pid);
        CHECK(at != checkpoint.processes.end());
        at->descriptors = std::move(of_process.descriptors);
    }
    if (collected.busy.empty()) TRY(impl_->collect_queues(files.queues, collected));
    if (impl_->home.users) {
        TRY(resources::number_users_from_inside(checkpoint, *impl_->home.users));
    }
    if (collected.busy.empty()) TRY(impl_->collect_aio(collected));
    checkpoint.clocks = TRY(impl_->clocks());
    collected.times.files = between(tasks_done, Clock::now());
    log_debug("collected: tasks {} us, mappings {} us, files {} us", collected.times.tasks.count(),
              collected.times.mappings.count(), collected.times.files.count());
    return collected;
}

Result<> SourceTree::check_aio(const model::Checkpoint& collected) const {
    for (const model::Process& process : collected.processes) {
        for (const model::AioRing& ring : process.aio_rings) {
            const AddrRange range{RemoteAddr{ring.address},
                                  RemoteAddr{ring.address + ring.content.size()}};
            if (TRY(resources::read_aio_ring(process.pid, range)) == ring) continue;
            return fail(Error::limit(
                fmt::format("process {}: an aio request has ended only in the freeze: try again",
                            process.pid)));
        }
    }
    return {};
}

Result<> SourceTree::release_locks(Frozen& frozen, std::span<const model::FileLock> locks) {
    CHECK(frozen.impl_ != nullptr);
    CHECK(frozen.impl_->held);
    return impl_->call_for_locks(frozen.impl_->freeze, locks, resources::release_call_of);
}

Result<> SourceTree::take_locks_back(Frozen& frozen, std::span<const model::FileLock> locks) {
    CHECK(frozen.impl_ != nullptr);
    return impl_->call_for_locks(frozen.impl_->freeze, locks, resources::call_of);
}

}  // namespace ferry::dump
