#include "dump/preflight.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "os/fd.h"
#include "os/namespace.h"
#include "os/process.h"
#include "resources/process_state.h"
#include "resources/seccomp.h"
#include "resources/thread_state.h"
#include "resources/user_ids.h"
#include "trace/tracee.h"

namespace ferry::dump {
namespace {

// The name of the first namespace in which the two differ, or nullptr.
const char* foreign_namespace(const model::NamespaceIds& a, const model::NamespaceIds& b) {
    if (a.mnt != b.mnt) return "mount";
    if (a.net != b.net) return "network";
    if (a.pid != b.pid) return "pid";
    if (a.uts != b.uts) return "uts";
    if (a.ipc != b.ipc) return "ipc";
    if (a.user != b.user) return "user";
    if (a.cgroup != b.cgroup) return "cgroup";
    if (a.time != b.time) return "time";
    return nullptr;
}

Result<> check_program(Pid pid, const proc::ProcessDirectory& directory) {
    auto program = os::openat(directory.get(), "exe", O_RDONLY);
    if (!program) {
        return fail(std::move(program.error()).context(fmt::format("program of process {}", pid)));
    }
    std::array<std::byte, EI_NIDENT> identity = {};
    TRY(os::pread(program->get(), identity, 0));
    if (identity[EI_CLASS] == std::byte{ELFCLASS32}) {
        return fail(Error::unsupported(fmt::format("process {} is a 32-bit program", pid)));
    }
    return {};
}

// What one thread has; it is stopped for some microseconds if it has any. Also refuses what else a
// single thread may have.
Result<std::vector<model::SeccompFilter>> filters_of(Pid pid, Tid tid) {
    const auto thread = TRY(proc::ProcessDirectory::open_thread(pid, tid));
    const proc::Status status = TRY(thread.status());
    if (status.tracer.value != 0) {
        return fail(
            Error::invalid(fmt::format("thread {} is traced by process {}", tid, status.tracer)));
    }
    TRY(resources::check_policy(tid, TRY(thread.stat())));
    if (status.seccomp_mode == SECCOMP_MODE_DISABLED) return std::vector<model::SeccompFilter>();
    TRY(resources::check_seccomp_mode(tid, status.seccomp_mode));
    trace::Tracee tracee = TRY(trace::Tracee::seize(pid, tid));
    TRY(tracee.stop());
    auto filters = resources::collect_seccomp(std::span(&tracee, 1));
    TRY(std::move(tracee).detach());
    return filters;
}

Result<> check_threads(Pid pid, const proc::ProcessDirectory& directory) {
    std::optional<std::vector<model::SeccompFilter>> common;
    for (const Tid tid : TRY(directory.threads())) {
        auto filters = filters_of(pid, tid);
        if (!filters && filters.error().kind() == Error::Kind::Gone) continue;
        if (!filters) return fail(std::move(filters.error()));
        if (!common) {
            common = std::move(*filters);
        } else if (*common != *filters) {
            return fail(Error::unsupported(fmt::format(
                "thread {} has other seccomp filters than process {}, which is not carried", tid,
                pid)));
        }
    }
    return {};
}

// What lives in an IPC namespace would not be shared any more with who stays behind.
Result<> check_ipc_members(const model::NamespaceIds& home) {
    for (const os::ProcessEntry& entry : TRY(os::process_entries())) {
        const auto directory = proc::ProcessDirectory::open(entry.pid);
        const auto ipc = directory ? directory->namespace_id("ipc") : fail(directory.error());
        if (!ipc || *ipc != home.ipc) continue;
        const auto pids = directory->namespace_id("pid");
        if (!pids || *pids == home.pid) continue;
        return fail(Error::unsupported(fmt::format(
            "process {}, which is outside of the container, is in its IPC namespace", entry.pid)));
    }
    return {};
}

// Its children would see other clocks than it does itself.
Result<> check_time(Pid pid, const proc::ProcessDirectory& directory,
                    const model::NamespaceIds& theirs) {
    if (TRY(directory.namespace_id("time_for_children")) == theirs.time) return {};
    return fail(Error::unsupported(fmt::format(
        "process {} has made a time namespace for its children, which is not carried", pid)));
}

// The destination's runtime makes the one that its runtime has made here.
Result<> check_users(Pid root, const model::NamespaceIds& theirs) {
    const os::UniqueFd pids = TRY(os::open(fmt::format("/proc/{}/ns/pid", root), O_RDONLY));
    const os::UniqueFd owner = TRY(os::owner_of_namespace(pids.get()));
    if (TRY(os::fstat(owner.get())).st_ino == theirs.user) return {};
    return fail(Error::unsupported(fmt::format(
        "process {}, the container's first, is in a user namespace that was made inside of the "
        "container, which is not carried",
        root)));
}

}  // namespace

Result<> check_root(Pid root) {
    if (root.value <= 0) {
        return fail(Error::invalid(fmt::format("{} is not a process id", root)));
    }
    const auto process = TRY(proc::ProcessDirectory::open(root));
    if (TRY(process.stat()).is_kernel_thread()) {
        return fail(Error::invalid(fmt::format("process {} is a kernel thread", root)));
    }
    if (root.value == ::getpid()) {
        return fail(Error::invalid(fmt::format("process {} is Ferry itself", root)));
    }
    // Its end would be the end of everything in the namespace, of Ferry too.
    if (root.value == 1) {
        return fail(Error::invalid("process 1 holds the pid namespace that Ferry itself runs in"));
    }
    for (Pid at{::getpid()}; at.value > 0;) {
        const auto directory = TRY(proc::ProcessDirectory::open(at));
        at = TRY(directory.stat()).parent;
        if (at == root) {
            return fail(Error::invalid(fmt::format(
                "process {} is an ancestor of Ferry itself: stopping it would stop Ferry", root)));
        }
    }
    return {};
}

Result<> check_process(Pid pid, const proc::ProcessDirectory& directory, const Home& home) {
    const proc::Stat stat = TRY(directory.stat());
    if (stat.is_kernel_thread()) {
        return fail(Error::invalid(fmt::format("process {} is a kernel thread", pid)));
    }
    const proc::Status status = TRY(directory.status());
    // A process that appears in the freeze is traced by ourselves by now.
    if (status.tracer.value != 0 && status.tracer.value != ::getpid()) {
        return fail(
            Error::invalid(fmt::format("process {} is traced by process {}", pid, status.tracer)));
    }
    if (status.core_dumping) {
        return fail(Error::unsupported(fmt::format("process {} is dumping core", pid)));
    }
    // In the freeze we trace it ourselves, and its threads are looked at one by one.
    if (status.tracer.value == 0) TRY(check_threads(pid, directory));
    const model::NamespaceIds theirs = TRY(resources::namespaces_of(directory));
    TRY(check_time(pid, directory, theirs));
    if (const char* name = foreign_namespace(home.namespaces, theirs)) {
        const bool of_root = home.is_container || std::string_view(name) == "time";
        return fail(Error::unsupported(
            of_root
                ? fmt::format(
                      "process {} is in another {} namespace than the {} first process, which "
                      "is not carried",
                      pid, name, home.is_container ? "container's" : "tree's")
                : fmt::format("process {} is in another {} namespace than Ferry: run Ferry there",
                              pid, name)));
    }
    if (home.users) {
        model::Credentials credentials = resources::credentials_of(status);
        TRY(with_context(resources::number_users_from_inside(credentials, *home.users),
                         fmt::format("process {}", pid)));
    }
    return check_program(pid, directory);
}

Result<Home> find_home(Pid root, bool is_container) {
    const auto self = TRY(proc::ProcessDirectory::open(Pid{::getpid()}));
    const model::NamespaceIds ours = TRY(resources::namespaces_of(self));
    const auto directory = TRY(proc::ProcessDirectory::open(root));
    const model::NamespaceIds theirs = TRY(resources::namespaces_of(directory));
    const bool has_own_time = theirs.time != ours.time;
    if (!is_container) {
        Home home{.namespaces = ours, .has_own_time = has_own_time};
        home.namespaces.time = theirs.time;
        return home;
    }
    if (theirs.pid == ours.pid || theirs.mnt == ours.mnt) {
        return fail(Error::unsupported(fmt::format(
            "the container of process {} shares the {} namespace of its host, which is not carried",
            root, theirs.pid == ours.pid ? "pid" : "mount")));
    }
    TRY(check_users(root, theirs));
    const bool has_own_ipc = theirs.ipc != ours.ipc;
    if (has_own_ipc) TRY(check_ipc_members(theirs));
    return Home{.namespaces = theirs,
                .is_container = true,
                .has_own_ipc = has_own_ipc,
                .has_own_time = has_own_time,
                .users = TRY(proc::user_namespace_of(root))};
}

Result<> check_session(const proc::Stat& root, const std::vector<Pid>& pids, bool shell_job) {
    if (shell_job) return {};
    if (std::ranges::find(pids, root.session) == pids.end()) {
        return fail(Error::unsupported(
            fmt::format("process {} belongs to session {}, whose leader is outside of the tree: "
                        "start it with setsid, or use --shell-job",
                        root.pid, root.session)));
    }
    if (std::ranges::find(pids, root.group) == pids.end()) {
        return fail(Error::unsupported(
            fmt::format("process {} belongs to process group {}, whose leader is outside of the "
                        "tree: start it with setsid, or use --shell-job",
                        root.pid, root.group)));
    }
    return {};
}

}  // namespace ferry::dump
