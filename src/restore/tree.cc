#include "restore/tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "os/process.h"
#include "os/ptrace.h"
#include "os/socket.h"
#include "proc/process_directory.h"
#include "proc/user_namespace.h"
#include "proc/vdso.h"
#include "resources/terminal.h"
#include "trace/ends.h"

namespace ferry::restore {
namespace {

constexpr std::chrono::milliseconds kEndTimeout{30'000};
// So that a dead stub that hangs in a ptrace stop is noticed (StubThread::check_alive).
constexpr timeval kReceiveTimeout = {.tv_sec = 0, .tv_usec = 100'000};

// The number that a started root finds its socket under: out of the way of whatever else it got.
constexpr int kStartedSocket = 9;
// Of a started root: its standard streams, which may be a terminal that somebody reads from.
constexpr int kStreams = 3;

Result<proc::ProcessDirectory> look_up(const os::PidNamespace& pids, Pid pid) {
    return proc::ProcessDirectory::open(TRY(pids.ours(pid)));
}

Error pid_in_use(const os::PidNamespace& pids, Pid pid) {
    std::string owner;
    if (const auto directory = look_up(pids, pid)) {
        if (const auto comm = directory->comm()) owner = fmt::format(" by \"{}\"", *comm);
    }
    return Error::invalid(fmt::format("pid {} is in use{}", pid, owner));
}

bool is_free_soon(const os::PidNamespace& pids, Pid pid) {
    const auto directory = look_up(pids, pid);
    if (!directory) return true;
    const auto stat = directory->stat();
    return !stat || stat->is_zombie();
}

// The tree may have been killed here a moment ago, and its orphans wait to be reaped by init.
template <class Fork>
Result<> fork_when_free(const os::PidNamespace& pids, Pid pid, Fork fork) {
    constexpr std::chrono::milliseconds kTimeout{2000};
    const auto deadline = std::chrono::steady_clock::now() + kTimeout;
    for (;;) {
        Result<> forked = fork();
        if (forked || forked.error().code() != EEXIST) return forked;
        if (!is_free_soon(pids, pid) || std::chrono::steady_clock::now() > deadline) {
            return fail(pid_in_use(pids, pid));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

Result<std::pair<os::UniqueFd, os::UniqueFd>> stub_sockets() {
    auto sockets = TRY(os::socketpair(AF_UNIX, SOCK_SEQPACKET));
    TRY(os::setsockopt(sockets.first.get(), SOL_SOCKET, SO_RCVTIMEO, kReceiveTimeout));
    return sockets;
}

// Every range that some process of the tree or we ourselves use.
Result<std::vector<AddrRange>> used_ranges(const model::Checkpoint& skeleton) {
    std::vector<AddrRange> used;
    for (const model::Process& process : skeleton.processes) {
        for (const model::Vma& vma : process.address_space.vmas) used.push_back(vma.range);
    }
    const auto self = TRY(proc::ProcessDirectory::open(Pid{::getpid()}));
    for (const proc::MapsEntry& entry : TRY(self.maps())) used.push_back(entry.range);
    return used;
}

// Room for what the skeleton has and for a tree that grows.
std::uint32_t slots_for(const model::Checkpoint& skeleton) {
    std::size_t slots = 4096;
    for (const model::Process& process : skeleton.processes) {
        slots += 2 * (kLeaderSlots + process.threads.size());
    }
    return static_cast<std::uint32_t>(slots);
}

// Reaps whatever of these has become our child. Their other threads are gone.
void reap(const std::vector<Pid>& pids) {
    const auto deadline = std::chrono::steady_clock::now() + kEndTimeout;
    for (const Pid pid : pids) {
        while (std::chrono::steady_clock::now() < deadline) {
            const auto status = os::wait_nohang(leader_of(pid));
            if (!status) break;
            if (!status->has_value()) std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    }
}

// While there is but one thread: afterwards the table of descriptors grows by a grace period of RCU
// each time (descriptor_room.h), and what is placed in it is placed in the freeze.
Result<> add_descriptor_room(StubProcess& process, Program& program) {
    constexpr rlim64_t kRoom = 4096;
    if (process.threads.size() > 1) return {};
    const rlimit64 limit = TRY(os::prlimit(process.here, RLIMIT_NOFILE));
    const auto highest = static_cast<int>(std::min(kRoom, limit.rlim_cur)) - 1;
    const int any = process.leader().socket_number();
    if (highest <= any) return {};
    program.call("dup3", SYS_dup3, {any, highest, O_CLOEXEC});
    program.call("close", SYS_close, {highest});
    return {};
}

}  // namespace

Result<std::unique_ptr<Tree>> Tree::create(const model::Checkpoint& skeleton,
                                           const StageOptions& options) {
    if (skeleton.processes.empty()) return fail(Error::corrupt("a tree without processes"));
    const std::uint32_t slots = slots_for(skeleton);
    const RemoteAddr hole = TRY(find_hole(TRY(used_ranges(skeleton)), Arena::bytes_for(slots)));
    Arena arena = TRY(Arena::create(hole, slots));
    std::unique_ptr<Tree> tree(new Tree(std::move(arena), options));
    TRY(tree->make_root(skeleton.root()));
    return tree;
}

Tree::~Tree() {
    kill_all();
}

StubProcess* Tree::find(Pid pid) {
    const auto found =
        std::ranges::find(processes_, pid, [](const auto& process) { return process->pid; });
    return found == processes_.end() ? nullptr : found->get();
}

std::vector<StubProcess*> Tree::processes() {
    std::vector<StubProcess*> all;
    for (const auto& process : processes_) all.push_back(process.get());
    return all;
}

Result<> Tree::make_root(const model::Process& root) {
    const SlotRun slots = TRY(arena_.allocate(kLeaderSlots));
    auto [ours, theirs] = TRY(stub_sockets());
    const auto made = options_.start_root ? start_root(root, slots, theirs.get())
                                          : fork_root(root, slots, theirs.get());
    if (!made) {
        arena_.release(slots);
        return fail(made.error());
    }
    // The last copy of ours: when the stub ends, so does the socket.
    theirs.reset();
    StubProcess process;
    process.pid = root.pid;
    process.here = *made;
    const pid_t session = ::getsid(made->value);
    process.session = session == made->value ? root.pid : Pid{session};
    process.group = ::getpgid(made->value) == made->value ? root.pid : Pid{};
    if (options_.start_root) {
        const auto directory = TRY(proc::ProcessDirectory::open(*made));
        const proc::Stat stat = TRY(directory.stat());
        process.terminal = resources::terminal_of_device(static_cast<std::uint32_t>(stat.tty));
        terminals_.give(process.terminal);
    }
    TRY(adopt(std::move(process), slots, std::move(ours)));
    return empty_address_space(*processes_.front());
}

Result<Pid> Tree::fork_root(const model::Process& root, SlotRun slots, int socket) {
    arena_.slot(slots).socket = socket;
    arena_.slot(slots).next_socket = socket;
    os::FlatImage image = arena_.image(slots);
    image.sibling = options_.sibling;
    TRY(fork_when_free(pids_, root.pid, [&] { return os::fork_into_image(root.pid, image); }));
    return root.pid;
}

Result<Pid> Tree::start_root(const model::Process& root, SlotRun slots, int socket) {
    arena_.slot(slots).socket = kStartedSocket;
    arena_.slot(slots).next_socket = kStartedSocket;
    arena_.slot(slots).first_closed = kStreams;
    const Pid here = TRY(options_.start_root(
        {.flat = arena_.image(slots), .socket = socket, .socket_number = kStartedSocket}));
    pids_ = TRY(os::PidNamespace::of(here));
    root_directory_ = TRY(os::open(fmt::format("/proc/{}/root", here), O_PATH | O_DIRECTORY));
    ipc_ = TRY(resources::IpcNamespace::of(here));
    shared_memory_.live_in(ipc_->fd());
    // What a process of another user namespace locks counts against its limit, whatever it may do
    // there. (We may not raise it without CAP_SYS_RESOURCE: then nobody here may lock more.)
    constexpr rlimit64 kUnlimited = {.rlim_cur = RLIM64_INFINITY, .rlim_max = RLIM64_INFINITY};
    root_user_ = TRY(proc::foreign_root(here));
    if (root_user_) {
        const auto raised = os::set_prlimit(here, RLIMIT_MEMLOCK, kUnlimited);
        if (!raised && raised.error().code() != EPERM) return fail(raised.error());
    }
    const Tid inside = TRY(pids_.theirs(leader_of(here)));
    if (inside == leader_of(root.pid)) return here;
    return fail(Error::invalid(
        fmt::format("the process that was started for process {} is {} in its pid namespace",
                    root.pid, inside)));
}

// Takes the new stub into the tree first, so that it is killed whatever fails next.
Result<> Tree::adopt(StubProcess made, SlotRun slots, os::UniqueFd socket) {
    auto process = std::make_unique<StubProcess>(std::move(made));
    const Pid pid = process->here;
    process->threads.push_back(std::make_unique<StubThread>(
        arena_, pid, leader_of(pid), leader_of(process->pid), slots, std::move(socket)));
    StubProcess& adopted = *processes_.emplace_back(std::move(process));
    TRY(adopted.leader().seize());
    adopted.pidfd.emplace(TRY(os::PidFd::open(pid)));
    adopted.memory = TRY(os::open(fmt::format("/proc/{}/mem", pid), O_RDWR));
    adopted.pagemap = TRY(os::open(fmt::format("/proc/{}/pagemap", pid), O_RDONLY));
    return {};
}

// Parks the vdso, unmaps everything but the hole. The limit on descriptors must allow those of the
// tree.
Result<> Tree::empty_address_space(StubProcess& process) {
    Program program;
    // Once it answers it has entered the image, and what is mapped stays.
    program.call("getpid", SYS_getpid, {}, exactly(process.pid.value));
    TRY(process.leader().run(program));
    program.clear();
    const auto directory = TRY(proc::ProcessDirectory::open(process.here));
    const proc::VdsoMappings own = proc::find_vdso(TRY(directory.maps()));
    RemoteAddr park = arena_.park();
    const auto move = [&](AddrRange range) {
        program.call("mremap", SYS_mremap,
                     {range.start, range.size(), range.size(), MREMAP_MAYMOVE | MREMAP_FIXED, park},
                     exactly(static_cast<std::int64_t>(park.value)));
        park = park + range.size();
    };
    for (const AddrRange& range : own.data) {
        vdso_.data_bytes.push_back(range.size());
        move(range);
    }
    if (!own.text.empty()) {
        vdso_.text_bytes = own.text.size();
        move(own.text);
    }
    CHECK(park <= arena_.hole().end);
    const AddrRange hole = arena_.hole();
    program.call("munmap", SYS_munmap, {0, hole.start});
    program.call("munmap", SYS_munmap, {hole.end, kAddressSpaceEnd - hole.end});
    const model::SignalAction default_action = {};
    const Data action = program.add_value(default_action);
    for (int signal = 1; signal <= model::kSignals; ++signal) {
        program.call("rt_sigaction", SYS_rt_sigaction, {signal, action, 0, sizeof(std::uint64_t)},
                     kAnything);  // SIGKILL and SIGSTOP refuse
    }
    rlimit64 files = TRY(os::prlimit(process.here, RLIMIT_NOFILE));
    files.rlim_cur = files.rlim_max;
    program.call("prlimit64", SYS_prlimit64, {0, RLIMIT_NOFILE, program.add_value(files), 0});
    return process.leader().run(program);
}

Result<> Tree::follow(const model::Checkpoint& skeleton) {
    if (const Pid root = processes_.front()->pid; skeleton.root().pid != root) {
        return fail(Error::corrupt(
            fmt::format("the tree's root changed from {} to {}", root, skeleton.root().pid)));
    }
    skeleton_ = &skeleton;
    for (auto it = processes_.rbegin(); it != processes_.rend(); ++it) {
        const model::Process* wanted = skeleton.find_process((*it)->pid);
        if (wanted == nullptr || wanted->is_zombie) TRY(keep_or_end(**it, skeleton));
    }
    std::erase_if(processes_, [](const auto& process) { return process->threads.empty(); });
    TRY(terminals_.follow(skeleton, root_directory_.get(), root_user_));
    TRY(close_streams());

    for (const model::Process& wanted : skeleton.processes) {
        if (wanted.is_zombie) continue;
        if (find(wanted.pid) == nullptr) TRY(fork_process(wanted));
        if (wanted.session == wanted.pid) TRY(start_session(skeleton, wanted));
        TRY(terminals_.control(*find(wanted.pid), wanted));
        if (wanted.child_subreaper) {
            Program program;
            program.call("prctl", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1});
            TRY(find(wanted.pid)->leader().run(program));
        }
    }
    TRY(join_groups(skeleton));
    for (const model::Process& wanted : skeleton.processes) {
        if (!wanted.is_zombie) TRY(match_threads(*find(wanted.pid), wanted));
    }
    return {};
}

// Ours are open by now.
Result<> Tree::close_streams() {
    if (!options_.start_root || std::exchange(has_closed_streams_, true)) return {};
    Program program;
    program.call("close_range", SYS_close_range, {0, kStreams - 1, 0});
    return processes_.front()->leader().run(program);
}

// A session or group that has living members keeps its id, so its leader must have been there.
Result<> Tree::keep_or_end(StubProcess& process, const model::Checkpoint& skeleton) {
    const bool leads = std::ranges::any_of(skeleton.processes, [&](const model::Process& member) {
        return !member.is_zombie && (member.session == process.pid || member.group == process.pid);
    });
    const bool becomes_zombie = skeleton.find_process(process.pid) != nullptr;
    if (!leads || !(process.is_stand_in || becomes_zombie)) return end_process(process);
    process.is_stand_in = true;
    while (process.threads.size() > 1) {
        TRY(process.threads.back()->end());
        process.threads.pop_back();
    }
    return {};
}

// Where there is no leader in the tree although there should be: the root was started from a shell.
bool Tree::is_led_from_outside(Pid leader) const {
    const model::Process& root = skeleton_->root();
    return leader.value == 0 || ((leader == root.session || leader == root.group) &&
                                 skeleton_->find_process(leader) == nullptr);
}

// A stub that leads the session or group of `member`, whose leader has ended: a sibling of the
// member that starts the session, a child that starts the group, or where the zombie will be.
Result<StubProcess*> Tree::stand_in_for(Pid leader, const model::Process& member, bool of_session) {
    model::Process made;
    made.pid = leader;
    made.group = leader;
    made.session = of_session ? leader : member.session;
    made.parent = of_session ? member.parent : member.pid;
    if (const model::Process* zombie = skeleton_->find_process(leader); zombie != nullptr) {
        made.parent = zombie->parent;
    }
    TRY(with_context(fork_process(made), fmt::format("for the end of leader {}", leader)));
    StubProcess& process = *find(leader);
    process.is_stand_in = true;
    Program program;
    if (of_session) program.call("setsid", SYS_setsid, {});
    if (!of_session) program.call("setpgid", SYS_setpgid, {0, 0});
    TRY(process.leader().run(program));
    process.session = made.session;
    process.group = leader;
    if (of_session) process.terminal.reset();
    return &process;
}

// Children that belong to the session that the process had before must be forked first.
Result<> Tree::start_session(const model::Checkpoint& skeleton, const model::Process& wanted) {
    if (find(wanted.pid)->session == wanted.pid) return {};
    for (const model::Process& child : skeleton.processes) {
        if (child.parent != wanted.pid || child.is_zombie || find(child.pid) != nullptr) continue;
        if (child.session == wanted.pid || child.session == child.pid) continue;
        TRY(fork_process(child));
    }
    StubProcess& process = *find(wanted.pid);
    Program program;
    program.call("setsid", SYS_setsid, {});
    TRY(process.leader().run(program));
    process.session = process.group = wanted.pid;
    process.terminal.reset();
    return {};
}

// The stub to fork from: the parent, or, for a task whose session is not its parent's, a sibling in
// that session, which then forks with CLONE_PARENT.
Result<StubProcess*> Tree::origin_of(const model::Process& wanted) {
    StubProcess* parent = find(wanted.parent);
    if (parent == nullptr) {
        return fail(Error::corrupt(
            fmt::format("process {} has no parent {} in the tree", wanted.pid, wanted.parent)));
    }
    if (wanted.session == wanted.pid || wanted.session == parent->session) return parent;
    for (const auto& process : processes_) {
        // Once pages are in, a sibling's are not what the child would have had from its parent.
        if (has_pages_) break;
        if (process->parent == wanted.parent && process->session == wanted.session) {
            return process.get();
        }
    }
    const model::Process* leader = skeleton_->find_process(wanted.session);
    const bool has_ended = leader == nullptr || leader->is_zombie;
    if (has_ended && find(wanted.session) == nullptr && !is_led_from_outside(wanted.session)) {
        StubProcess* made = TRY(stand_in_for(wanted.session, wanted, true));
        if (made->parent == wanted.parent) return made;
    }
    return fail(Error::unsupported(fmt::format(
        "process {} belongs to session {}, which nobody from whom it could be forked is in",
        wanted.pid, wanted.session)));
}

Result<> Tree::fork_process(const model::Process& wanted) {
    StubProcess& origin = *TRY(origin_of(wanted));
    const SlotRun slots = TRY(arena_.allocate(kLeaderSlots));
    auto [ours, theirs] = TRY(stub_sockets());
    const bool sibling = origin.pid != wanted.parent;
    auto forked = fork_when_free(pids_, wanted.pid, [&] {
        return fork_from(origin, wanted.pid, sibling, slots, theirs.get());
    });
    if (!forked) {
        arena_.release(slots);
        return forked;
    }
    StubProcess process;
    process.pid = wanted.pid;
    process.here = TRY(pids_.ours(wanted.pid));
    process.parent = wanted.parent;
    process.session = origin.session;
    process.group = origin.group;
    process.terminal = origin.terminal;
    process.mapped = origin.mapped;
    process.shares_pages = true;
    return adopt(std::move(process), slots, std::move(ours));
}

Result<> Tree::fork_from(StubProcess& origin, Pid pid, bool sibling, SlotRun slots, int socket) {
    Program program;
    const Receiver received(program, origin.leader().socket_number(), 1);
    const Data set_tid = program.add_value(pid.value);
    clone_args arguments = {};
    arguments.flags = sibling ? CLONE_PARENT : 0;
    arguments.exit_signal = sibling ? 0 : SIGCHLD;
    arguments.set_tid_size = 1;
    arguments.stack = arena_.address(slots).value;
    arguments.stack_size = kPageSize;
    const Data arguments_data = program.add_value(arguments);
    program.point(arguments_data, offsetof(clone_args, set_tid), set_tid);
    const Op spawned = program.spawn(arguments_data, sizeof(arguments), arena_.address(slots),
                                     received.fd(0), kAnything);
    program.call("close", SYS_close, {received.fd(0)});
    TRY(origin.leader().run(program, std::span(&socket, 1)));
    const std::int64_t result = program.result(spawned);
    if (result >= 0) return {};
    return fail(Error::system(static_cast<int>(-result),
                              fmt::format("clone3(set_tid {}) by {}", pid, origin.pid)));
}

Result<> Tree::stand_in_for_zombies(const model::Checkpoint& final) {
    for (const model::OpenFile& file : final.files) {
        const auto* pidfd = std::get_if<model::PidFile>(&file.body);
        const model::Process* zombie =
            pidfd == nullptr ? nullptr : final.find_process(Pid{pidfd->task});
        if (zombie == nullptr || !zombie->is_zombie || find(zombie->pid) != nullptr) continue;
        const StubProcess* parent = find(zombie->parent);
        if (parent == nullptr) {
            return fail(Error::corrupt(fmt::format("zombie {} has no parent", zombie->pid)));
        }
        model::Process made = *zombie;
        made.session = parent->session;  // as make_zombie() forks it
        TRY(fork_process(made));
        find(zombie->pid)->is_stand_in = true;
    }
    return {};
}

Result<> Tree::make_zombie(const model::Process& zombie) {
    if (StubProcess* known = find(zombie.pid); known != nullptr) {
        // Its tracer would have to wait for it first.
        TRY(std::move(known->leader().tracee()).detach());
        const Pid here = known->here;
        zombies_.push_back(here);
        TRY(end_zombie(known->leader(), *known->pidfd, zombie));
        std::erase_if(processes_, [&](const auto& process) { return process.get() == known; });
        return {};
    }
    StubProcess* parent = find(zombie.parent);
    if (parent == nullptr) {
        return fail(Error::corrupt(fmt::format("zombie {} has no parent", zombie.pid)));
    }
    const SlotRun slots = TRY(arena_.allocate(kLeaderSlots));
    auto [ours, theirs] = TRY(stub_sockets());
    auto forked = fork_when_free(pids_, zombie.pid, [&] {
        return fork_from(*parent, zombie.pid, false, slots, theirs.get());
    });
    if (!forked) {
        arena_.release(slots);
        return forked;
    }
    const Pid here = TRY(pids_.ours(zombie.pid));
    zombies_.push_back(here);
    theirs.reset();
    const os::PidFd pidfd = TRY(os::PidFd::open(here));
    StubThread stub(arena_, here, leader_of(here), leader_of(zombie.pid), slots, std::move(ours));
    return end_zombie(stub, pidfd, zombie);
}

Result<> Tree::end_zombie(StubThread& stub, const os::PidFd& pidfd, const model::Process& zombie) {
    Program program;
    if (zombie.session == zombie.pid) program.call("setsid", SYS_setsid, {}, kAnything);
    if (zombie.session != zombie.pid) {
        program.call("setpgid", SYS_setpgid, {0, zombie.group.value}, kAnything);
    }
    const int signal = zombie.exit_status & 0x7f;
    if (signal != 0) {
        const rlimit64 none = {.rlim_cur = 0, .rlim_max = 0};  // no core file
        program.call("prlimit64", SYS_prlimit64, {0, RLIMIT_CORE, program.add_value(none), 0});
        const std::uint64_t mask = 0;
        program.call("kill", SYS_kill, {zombie.pid.value, signal});
        program.call("rt_sigprocmask", SYS_rt_sigprocmask,
                     {SIG_SETMASK, program.add_value(mask), 0, sizeof(mask)});
    }
    program.call("exit_group", SYS_exit_group, {(zombie.exit_status >> 8) & 0xff});
    TRY(stub.post(program));
    if (!TRY(pidfd.wait_exit(kEndTimeout))) {
        return fail(Error::gone(fmt::format("the stub of zombie {} does not end", zombie.pid)));
    }
    return {};
}

// A group of which nobody is left is nobody's foreground.
Result<> Tree::set_foreground(const model::Checkpoint& final) {
    for (const model::Terminal& terminal : final.terminals) {
        StubProcess* leader = find(Pid{terminal.session});
        const bool has_members =
            std::ranges::any_of(final.processes, [&](const model::Process& process) {
                return process.group.value == terminal.foreground &&
                       process.session.value == terminal.session;
            });
        if (leader != nullptr && has_members) TRY(terminals_.set_foreground(*leader, terminal));
    }
    return {};
}

Result<> Tree::end_stand_ins() {
    for (auto it = processes_.rbegin(); it != processes_.rend(); ++it) {
        if ((*it)->is_stand_in) TRY(end_process(**it));
    }
    std::erase_if(processes_, [](const auto& process) { return process->threads.empty(); });
    return {};
}

Result<> Tree::join_groups(const model::Checkpoint& skeleton) {
    // Leaders first: a group exists once its leader is in it.
    for (const bool leaders : {true, false}) {
        for (const model::Process& wanted : skeleton.processes) {
            if (wanted.is_zombie || (wanted.group == wanted.pid) != leaders) continue;
            if (wanted.session == wanted.pid) continue;  // setsid() did it
            if (find(wanted.pid)->group == wanted.group) continue;
            if (find(wanted.group) == nullptr) {
                if (is_led_from_outside(wanted.group)) continue;
                TRY(stand_in_for(wanted.group, wanted, false));
            }
            StubProcess& process = *find(wanted.pid);
            Program program;
            program.call("setpgid", SYS_setpgid, {0, wanted.group.value});
            TRY(process.leader().run(program));
            process.group = wanted.group;
        }
    }
    return {};
}

Result<> Tree::match_threads(StubProcess& process, const model::Process& wanted) {
    std::set<Tid> tids;
    for (const model::Thread& thread : wanted.threads) tids.insert(thread.tid);
    for (auto& thread : process.threads) {
        if (tids.erase(thread->tid()) > 0) continue;
        if (thread == process.threads.front()) {
            return fail(
                Error::corrupt(fmt::format("process {} without its first thread", process.pid)));
        }
        TRY(thread->end());
        thread.reset();
    }
    std::erase(process.threads, nullptr);

    Program program;
    if (!tids.empty()) TRY(add_descriptor_room(process, program));
    std::vector<std::pair<Tid, SlotRun>> made;
    for (const Tid tid : tids) {
        const SlotRun slots = TRY(arena_.allocate(1));
        made.emplace_back(tid, slots);
        clone_args arguments = {};
        arguments.flags =
            CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
        arguments.set_tid_size = 1;
        arguments.stack = arena_.address(slots).value;
        arguments.stack_size = kPageSize;
        const Data set_tid = program.add_value(tid.value);
        const Data arguments_data = program.add_value(arguments);
        program.point(arguments_data, offsetof(clone_args, set_tid), set_tid);
        program.spawn(arguments_data, sizeof(arguments), arena_.address(slots), -1);
        if (auto spawned = process.leader().run_if_full(program); !spawned) {
            if (spawned.error().code() == EEXIST) return fail(pid_in_use(pids_, Pid{tid.value}));
            return spawned;
        }
    }
    if (auto spawned = process.leader().run_rest(program); !spawned) {
        return fail(std::move(spawned.error()).context("a thread id is in use"));
    }
    for (const auto& [tid, slots] : made) {
        process.threads.push_back(std::make_unique<StubThread>(
            arena_, process.here, TRY(pids_.ours(tid)), tid, slots, os::UniqueFd()));
    }
    for (auto& thread : process.threads) {
        if (!thread->is_seized()) TRY(thread->seize());
    }
    // In the model's order, the leader first.
    std::ranges::sort(process.threads, {}, [&](const auto& thread) {
        return std::ranges::find(wanted.threads, thread->tid(), &model::Thread::tid) -
               wanted.threads.begin();
    });
    return {};
}

Result<> Tree::end_process(StubProcess& process) {
    TRY(process.pidfd->send_signal(SIGKILL));
    for (auto it = process.threads.rbegin(); it != process.threads.rend(); ++it) {
        StubThread& thread = **it;
        const trace::Stop stop = TRY(thread.tracee().wait(kEndTimeout));
        if (!stop.is_end()) {
            return fail(Error::gone(fmt::format("the stub of {} does not end", thread.tid())));
        }
        thread.tracee().forget();
    }
    process.threads.clear();
    if (StubProcess* parent = find(process.parent); parent != nullptr && !parent->threads.empty()) {
        Program program;
        program.call("wait4", SYS_wait4, {process.pid.value, 0, 0, 0}, kAnything);
        TRY(parent->leader().run(program));
    }
    return {};
}

void Tree::disown() {
    for (auto& process : processes_) process->threads.clear();
    processes_.clear();
}

// A child of a stub becomes ours when its parent dies, because we are a subreaper meanwhile.
void Tree::kill_all() noexcept {
    if (processes_.empty()) return;
    const auto subreaper = os::child_subreaper();
    std::ignore = os::set_child_subreaper(true);
    std::vector<Pid> pids = zombies_;
    for (auto& process : processes_) {
        pids.push_back(process->here);
        std::ignore = os::kill(process->here, SIGKILL);
    }
    std::vector<Tid> threads;
    for (auto& process : processes_) {
        for (auto& thread : process->threads) {
            if (!thread->is_seized()) continue;
            threads.push_back(thread->here());
            thread->tracee().forget();
        }
    }
    if (const auto ended = trace::await_ends(std::move(threads), kEndTimeout); !ended) {
        log_warn("stubs: {}, ignoring", ended.error().message());
    }
    for (auto& process : processes_) process->threads.clear();
    reap(pids);
    if (subreaper && !*subreaper) std::ignore = os::set_child_subreaper(false);
    processes_.clear();
}

}  // namespace ferry::restore
