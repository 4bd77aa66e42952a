#include "restore/staged_tree.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "os/process.h"
#include "os/schedule.h"
#include "proc/process_directory.h"
#include "proc/vdso.h"
#include "restore/aio.h"
#include "restore/clocks.h"
#include "restore/control_groups.h"
#include "restore/descriptors.h"
#include "restore/file_locks.h"
#include "restore/filler.h"
#include "restore/listeners.h"
#include "restore/mapper.h"
#include "restore/queue_notifications.h"
#include "restore/release.h"
#include "restore/semaphore_undo.h"
#include "restore/task_state.h"
#include "restore/tree.h"

namespace ferry::restore {
namespace {

using Clock = std::chrono::steady_clock;

std::chrono::microseconds since(Clock::time_point& from) {
    const auto now = Clock::now();
    const auto passed = std::chrono::duration_cast<std::chrono::microseconds>(now - from);
    from = now;
    return passed;
}

// What only fails at activation if it is not looked at now (I4).
Result<> check_possible(const model::Checkpoint& skeleton) {
    if (const std::uint64_t own = TRY(proc::vdso_hash());
        skeleton.vdso_hash != 0 && skeleton.vdso_hash != own) {
        return fail(Error::unsupported(fmt::format(
            "the tree comes from a host with another vdso (kernel {})", skeleton.kernel_release)));
    }
    const model::Credentials own = TRY(first_credentials(Pid{::getpid()}));
    if ((own.cap_effective >> CAP_SYS_RESOURCE & 1) != 0) return {};
    const auto self = TRY(proc::ProcessDirectory::open(Pid{::getpid()}));
    const int own_adjustment = TRY(self.oom_score_adj());
    for (const model::Process& process : skeleton.processes) {
        if (process.is_zombie || process.oom_score_adj >= own_adjustment) continue;
        return fail(Error::unsupported(
            fmt::format("process {}: oom_score_adj {} is below ours ({}), and CAP_SYS_RESOURCE is "
                        "missing",
                        process.pid, process.oom_score_adj, own_adjustment)));
    }
    for (int resource = 0; resource < model::kResourceLimits; ++resource) {
        const rlimit64 have = TRY(os::prlimit(Pid{::getpid()}, resource));
        for (const model::Process& process : skeleton.processes) {
            const auto& limit = process.limits[static_cast<std::size_t>(resource)];
            if (limit.hard <= have.rlim_max) continue;
            return fail(Error::unsupported(
                fmt::format("process {}: hard limit {} of resource {} is above ours ({}), and "
                            "CAP_SYS_RESOURCE is missing",
                            process.pid, limit.hard, resource, have.rlim_max)));
        }
    }
    return {};
}

}  // namespace

struct StagedTree::Impl {
    std::unique_ptr<Tree> tree;
    StageOptions options;
    bool active = false;
    std::string loss;
    std::vector<model::FileLock> late_locks;
    std::optional<model::IpcSettings> ipc_settings;  // for which there is room

    Result<StubProcess*> process(Pid pid) const {
        StubProcess* found = tree->find(pid);
        if (found != nullptr) return found;
        return fail(Error::corrupt(fmt::format("process {} is not in the tree", pid)));
    }

    // While the root is alone.
    Result<> set_clocks(const model::Checkpoint& skeleton) {
        if (!options.clocks) return {};
        const Result<> entered = enter_time_namespace(*tree->processes().front(), *options.clocks);
        if (entered) return {};
        const bool may_jump =
            !skeleton.clocks.own_namespace && entered.error().kind() == Error::Kind::Unsupported;
        if (!may_jump) return entered;
        options.clocks.reset();
        loss = "CLOCK_MONOTONIC and CLOCK_BOOTTIME jump: " + entered.error().message();
        return {};
    }

    Result<> update(const model::Checkpoint& skeleton) {
        TRY(tree->follow(skeleton));
        if (skeleton.ipc && ipc_settings != skeleton.ipc->settings) {
            TRY(tree->ipc()->loosen(*skeleton.ipc));
            ipc_settings = skeleton.ipc->settings;
        }
        TRY(tree->shared_memory().follow(skeleton));
        for (const model::Process& wanted : skeleton.processes) {
            if (wanted.is_zombie) continue;
            StubProcess& stub = *TRY(process(wanted.pid));
            TRY(check_vdso(*tree, wanted));
            TRY(apply_layout(*tree, stub, skeleton, wanted));
            if (options.join_control_groups) TRY(join_control_groups(stub.here, wanted));
        }
        return {};
    }

    Result<> set_threads(const model::Checkpoint& final) {
        const model::Credentials own = TRY(first_credentials(tree->root_here()));
        // All threads work at once.
        std::vector<std::pair<StubThread*, Program>> running;
        for (const model::Process& wanted : final.processes) {
            if (wanted.is_zombie) continue;
            StubProcess& stub = *TRY(process(wanted.pid));
            for (std::size_t i = 0; i < wanted.threads.size(); ++i) {
                const model::Thread& thread = wanted.threads[i];
                auto& [task, program] = running.emplace_back(stub.threads[i].get(), Program());
                const auto listeners =
                    i == 0 ? listeners_of(final, wanted) : std::vector<Listener>();
                add_listens_as_others(program, listeners, thread.credentials, own);
                add_thread_state(program, wanted, thread, thread.credentials == own);
                add_listens(program, listeners, thread.credentials);
                if (program.bytes() > task->capacity()) {
                    return fail(Error::limit(fmt::format(
                        "thread {} has too many groups or pending signals", thread.tid)));
                }
                TRY(task->post(program));
            }
        }
        for (auto& [task, program] : running) TRY(task->await(program));
        return {};
    }

    Result<ActivationReport> activate(const model::Checkpoint& final, const FileLookup& files,
                                      const OpenPidfds& open_pidfds) {
        ActivationReport report;
        const auto begin = Clock::now();
        auto mark = begin;
        // Each step is a question and an answer between us and a stub; on a busy host every wake-up
        // would wait for its turn.
        const os::Urgency urgency;
        for (StubProcess* stub : tree->processes()) {
            for (auto& thread : stub->threads) os::make_urgent(thread->here());
        }
        TRY(update(final));
        TRY(tree->stand_in_for_zombies(final));
        if (open_pidfds) TRY(open_pidfds(final));
        TRY(tree->shared_memory().finish(final));
        if (final.ipc) TRY(tree->ipc()->make(*final.ipc));
        report.update = since(mark);
        const auto each = [&](auto&& function) -> Result<> {
            for (const model::Process& wanted : final.processes) {
                if (wanted.is_zombie) continue;
                TRY(with_context(function(*TRY(process(wanted.pid)), wanted),
                                 fmt::format("process {}", wanted.pid)));
            }
            return {};
        };
        TRY(each([&](StubProcess& stub, const model::Process& wanted) -> Result<> {
            TRY(restore_aio(stub, wanted));
            TRY(set_process_files(stub, final, wanted, files));
            return place_descriptors(stub, wanted, files);
        }));
        TRY(tree->terminals().settle(final, tree->root_directory()));
        TRY(add_epoll_targets(*tree, final));
        late_locks = TRY(take_locks(*tree, final));
        report.late_locks = late_locks;
        report.descriptors = since(mark);
        TRY(each([&](StubProcess& stub, const model::Process& wanted) -> Result<> {
            TRY(finish_layout(*tree, stub, wanted));
            TRY(set_semaphore_undo(stub, final, wanted));
            TRY(register_for_messages(stub, final, wanted));
            return set_process_state(stub, wanted);
        }));
        if (final.ipc) TRY(tree->ipc()->settle(*final.ipc));
        for (const model::Process& wanted : final.processes) {
            if (wanted.is_zombie) TRY(tree->make_zombie(wanted));
        }
        TRY(tree->set_foreground(final));
        TRY(tree->end_stand_ins());
        TRY(each(install_seccomp));
        report.processes = since(mark);
        TRY(set_threads(final));
        report.threads = since(mark);
        TRY(each([&](StubProcess& stub, const model::Process& wanted) -> Result<> {
            return finish_process(stub, wanted);
        }));
        report.processes += since(mark);
        if (options.clocks) TRY(await_clocks(final, *options.clocks));
        TRY(set_registers(*tree, final));
        report.registers = since(mark);
        report.total = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
        active = true;
        return report;
    }
};

StagedTree::StagedTree(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StagedTree::StagedTree(StagedTree&&) noexcept = default;
StagedTree& StagedTree::operator=(StagedTree&&) noexcept = default;
StagedTree::~StagedTree() = default;

Result<StagedTree> StagedTree::create(const model::Checkpoint& skeleton,
                                      const StageOptions& options) {
    TRY(check_possible(skeleton));
    if (skeleton.ipc && !options.start_root) {
        return fail(Error::unsupported("the tree had an IPC namespace of its own: a container"));
    }
    auto impl = std::make_unique<Impl>();
    impl->options = options;
    impl->tree = TRY(Tree::create(skeleton, options));
    TRY(impl->set_clocks(skeleton));
    if (options.root_alone) {
        model::Checkpoint root = skeleton;
        root.processes.resize(1);
        TRY(impl->update(root));
    } else {
        TRY(impl->update(skeleton));
    }
    return StagedTree(std::move(impl));
}

Result<> StagedTree::update(const model::Checkpoint& skeleton) {
    return impl_->update(skeleton);
}

Result<> StagedTree::write_pages(Pid pid, RemoteAddr address, std::span<const std::byte> pages) {
    const PageWrite write{.address = address, .bytes = pages};
    return write_pages(pid, std::span(&write, 1));
}

Result<> StagedTree::write_pages(Pid pid, std::span<const PageWrite> writes) {
    impl_->tree->note_pages();
    return restore::write_pages(*TRY(impl_->process(pid)), writes);
}

Result<> StagedTree::drop_pages(Pid pid, std::span<const AddrRange> ranges) {
    return restore::drop_pages(*TRY(impl_->process(pid)), ranges);
}

Result<> StagedTree::keep_pages(Pid pid, std::span<const AddrRange> present) {
    return restore::keep_pages(*TRY(impl_->process(pid)), present);
}

Result<> StagedTree::read_pages(Pid pid, int pages_fd, std::span<const FileRun> runs) {
    impl_->tree->note_pages();
    return restore::read_pages(*TRY(impl_->process(pid)), pages_fd, runs);
}

Result<> StagedTree::write_shared(std::uint64_t id, std::uint64_t offset,
                                  std::span<const std::byte> bytes) {
    return impl_->tree->shared_memory().write(id, offset, bytes);
}

int StagedTree::terminal_master(std::uint32_t index) const {
    return impl_->tree->terminals().master(index);
}

int StagedTree::shared_memory(std::uint64_t id) const {
    return impl_->tree->shared_memory().fd(id);
}

Result<> StagedTree::drop_shared(std::uint64_t id, std::uint64_t offset, std::uint64_t bytes) {
    return impl_->tree->shared_memory().drop(id, offset, bytes);
}

Result<ActivationReport> StagedTree::activate(const model::Checkpoint& final,
                                              const FileLookup& files,
                                              const OpenPidfds& open_pidfds) {
    CHECK(!impl_->active);
    return impl_->activate(final, files, open_pidfds);
}

Result<> StagedTree::take_late_locks(std::chrono::milliseconds timeout) {
    CHECK(impl_->active);
    constexpr std::chrono::microseconds kPause{200};
    const auto deadline = Clock::now() + timeout;
    std::vector<model::FileLock>& waiting = impl_->late_locks;
    for (;;) {
        waiting = TRY(restore::take_late_locks(*impl_->tree, std::move(waiting)));
        if (waiting.empty()) return {};
        if (Clock::now() > deadline) {
            return fail(Error::limit(
                fmt::format("{} locks of files are still held elsewhere", waiting.size())));
        }
        std::this_thread::sleep_for(kPause);
    }
}

Result<> StagedTree::run(RunMode mode, const std::function<void()>& lasting) && {
    CHECK(impl_->active);
    impl_->tree->terminals().give_up();
    return release(*impl_->tree, mode, lasting);
}

const std::string& StagedTree::loss() const {
    return impl_->loss;
}

Pid StagedTree::root_here() const {
    return impl_->tree->root_here();
}

std::vector<Pid> StagedTree::pids_here() const {
    std::vector<Pid> pids;
    for (const StubProcess* process : impl_->tree->processes()) pids.push_back(process->here);
    return pids;
}

}  // namespace ferry::restore
