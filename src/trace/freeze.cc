#include "trace/freeze.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <thread>

#include "base/limits.h"
#include "base/log.h"
#include "os/ptrace.h"
#include "trace/ends.h"

namespace ferry::trace {
namespace {

// New threads and children appear only while somebody still runs, so each pass finds fewer. A tree
// that still grows after this many is a fork bomb.
constexpr int kPassesMax = 1000;

// Ending frees the memory: about half a second for each 4 GiB.
constexpr std::chrono::milliseconds kEndTimeout{60'000};

bool is_gone(const Error& error) {
    return error.kind() == Error::Kind::Gone;
}

bool has_thread(const FrozenProcess& process, Tid tid) {
    return std::ranges::any_of(process.threads, [&](const Tracee& t) { return t.tid() == tid; });
}

// Seizes and interrupts what is new in one process, without waiting. True if there was any.
Result<bool> seize_new_threads(FrozenProcess& process) {
    auto listed = process.directory.threads();
    if (!listed) {
        if (is_gone(listed.error())) return false;
        return fail(std::move(listed.error()));
    }
    bool found = false;
    for (const Tid tid : *listed) {
        if (has_thread(process, tid)) continue;
        auto tracee = Tracee::seize(process.pid, tid);
        if (!tracee) {
            if (is_gone(tracee.error())) continue;
            return fail(std::move(tracee.error()));
        }
        if (auto asked = tracee->interrupt(); !asked && !is_gone(asked.error())) {
            return fail(std::move(asked.error()));
        }
        process.threads.push_back(std::move(*tracee));
        found = true;
    }
    return found;
}

// Waits for those that were interrupted; drops those that ended.
Result<> await_threads(FrozenProcess& process) {
    for (Tracee& tracee : process.threads) {
        if (tracee.is_stopped()) continue;
        auto stopped = tracee.await_stop();
        if (stopped) continue;
        if (!is_gone(stopped.error())) return fail(std::move(stopped.error()));
        tracee.forget();
    }
    std::erase_if(process.threads, [](const Tracee& tracee) { return !tracee.is_stopped(); });
    return {};
}

}  // namespace

Result<> Freeze::adopt(Pid pid) {
    if (processes_.size() >= limits::kTasksMax)
        return fail(Error::limit("the tree grows too fast"));
    auto pidfd = os::PidFd::open(pid);
    auto directory = proc::ProcessDirectory::open(pid);
    if (!pidfd || !directory) {
        Error& error = pidfd ? directory.error() : pidfd.error();
        if (is_gone(error)) return {};
        return fail(std::move(error));
    }
    auto stat = directory->stat();
    if (!stat) {
        if (is_gone(stat.error())) return {};
        return fail(std::move(stat.error()));
    }
    processes_.push_back(FrozenProcess{.pid = pid,
                                       .parent = stat->parent,
                                       .is_zombie = stat->is_zombie() && stat->thread_count <= 1,
                                       .stop_signal = 0,
                                       .pidfd = std::move(*pidfd),
                                       .directory = std::move(*directory),
                                       .threads = {}});
    return {};
}

Result<bool> Freeze::stop_new_threads() {
    bool found = false;
    for (FrozenProcess& process : processes_) {
        if (!process.is_zombie && TRY(seize_new_threads(process))) found = true;
    }
    for (FrozenProcess& process : processes_) TRY(await_threads(process));
    // A process whose last thread ended is a zombie now, or gone.
    std::erase_if(processes_, [](FrozenProcess& process) {
        if (process.is_zombie || !process.threads.empty()) return false;
        const auto stat = process.directory.stat();
        process.is_zombie = stat.has_value();
        return !stat.has_value();
    });
    return found;
}

// True if a child was found that is not among the processes yet.
Result<bool> Freeze::find_children() {
    std::vector<std::pair<Pid, Pid>> found;  // child, parent
    for (const FrozenProcess& process : processes_) {
        for (const Tracee& tracee : process.threads) {
            auto children = process.directory.text(fmt::format("task/{}/children", tracee.tid()));
            if (!children) {
                if (is_gone(children.error())) continue;
                return fail(std::move(children.error()));
            }
            for (const Pid child : TRY(proc::parse_children(*children))) {
                found.emplace_back(child, process.pid);
            }
        }
    }
    bool any = false;
    for (const auto& [child, parent] : found) {
        if (FrozenProcess* known = find(child); known != nullptr) {
            known->parent = parent;
            continue;
        }
        TRY(adopt(child));
        any = true;
    }
    return any;
}

FrozenProcess* Freeze::find(Pid pid) {
    for (FrozenProcess& process : processes_) {
        if (process.pid == pid) return &process;
    }
    return nullptr;
}

std::size_t Freeze::thread_count() const {
    std::size_t count = 0;
    for (const FrozenProcess& process : processes_) count += process.threads.size();
    return count;
}

// Keeps the root and its descendants, parents first; the rest is released by its destructors.
void Freeze::order_by_generation(Pid root) {
    std::vector<FrozenProcess> ordered;
    const auto take = [&](auto matches) {
        for (auto it = processes_.begin(); it != processes_.end();) {
            if (!matches(*it)) {
                ++it;
                continue;
            }
            ordered.push_back(std::move(*it));
            it = processes_.erase(it);
        }
    };
    take([&](const FrozenProcess& p) { return p.pid == root; });
    for (std::size_t at = 0; at < ordered.size(); ++at) {
        const Pid parent = ordered[at].pid;
        take([&](const FrozenProcess& p) { return p.parent == parent; });
    }
    if (!ordered.empty()) ordered.front().parent = Pid{};
    processes_ = std::move(ordered);
}

Result<Freeze> Freeze::stop(Pid root, const std::vector<Pid>& expected, const StopFirst& first) {
    Freeze freeze;
    freeze.since_ = std::chrono::steady_clock::now();
    for (const Pid pid : first.pids) TRY(freeze.adopt(pid));
    if (!first.pids.empty()) {
        TRY(freeze.stop_new_threads());
        std::this_thread::sleep_for(first.then);
    }
    if (freeze.find(root) == nullptr) TRY(freeze.adopt(root));
    for (const Pid pid : expected) {
        if (freeze.find(pid) == nullptr) TRY(freeze.adopt(pid));
    }
    for (int pass = 0;; ++pass) {
        if (pass == kPassesMax) {
            return fail(Error::limit(fmt::format("the tree of {} does not stop growing", root)));
        }
        const bool new_threads = TRY(freeze.stop_new_threads());
        const bool new_children = TRY(freeze.find_children());
        if (!new_threads && !new_children) break;
    }
    freeze.order_by_generation(root);
    if (freeze.processes_.empty() || freeze.processes_.front().is_zombie) {
        return fail(Error::gone(fmt::format("process {} has ended", root)));
    }
    for (FrozenProcess& process : freeze.processes_) {
        const auto leader = leader_of(process.pid);
        if (process.is_zombie) continue;
        const auto at = std::ranges::find(process.threads, leader, &Tracee::tid);
        if (at == process.threads.end()) {
            return fail(Error::unsupported(fmt::format(
                "the main thread of process {} has ended before the others", process.pid)));
        }
        std::iter_swap(process.threads.begin(), at);
        process.stop_signal = process.threads.front().group_stop();
        std::sort(process.threads.begin() + 1, process.threads.end(),
                  [](const Tracee& a, const Tracee& b) { return a.tid() < b.tid(); });
    }
    return freeze;
}

Result<> Freeze::release() {
    std::optional<Error> first;
    for (FrozenProcess& process : processes_) {
        for (Tracee& tracee : process.threads) {
            auto detached = std::move(tracee).detach();
            if (!detached && !is_gone(detached.error()) && !first) first = detached.error();
        }
    }
    processes_.clear();
    if (first) return fail(std::move(*first));
    return {};
}

Result<> Freeze::thaw() && {
    return release();
}

// The signal is queued while everything stands still. The first thread that runs on takes it and
// stops the whole process; no thread returns to userspace in between, because each passes the
// signal path of the kernel on its way out of the trace stop.
Result<> Freeze::leave_stopped() && {
    for (const FrozenProcess& process : processes_) {
        if (process.is_zombie || process.stop_signal != 0) continue;
        if (auto sent = process.pidfd.send_signal(SIGSTOP); !sent && !is_gone(sent.error())) {
            return fail(std::move(sent.error()));
        }
    }
    return release();
}

// Children first would let parents see SIGCHLD while dying, which is harmless; what matters is that
// all have their SIGKILL before the first is waited for.
Result<> Freeze::kill() && {
    std::optional<Error> first;
    for (const FrozenProcess& process : processes_) {
        if (process.is_zombie) continue;
        auto sent = process.pidfd.send_signal(SIGKILL);
        if (!sent && !is_gone(sent.error()) && !first) first = std::move(sent.error());
    }
    if (first) return fail(std::move(*first));
    std::vector<Tid> threads;
    for (FrozenProcess& process : processes_) {
        for (Tracee& tracee : process.threads) {
            threads.push_back(tracee.tid());
            tracee.forget();
        }
    }
    auto ended = await_ends(std::move(threads), kEndTimeout);
    if (!ended && !first) first = std::move(ended.error());
    processes_.clear();
    if (first) return fail(std::move(*first));
    return {};
}

}  // namespace ferry::trace
