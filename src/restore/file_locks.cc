#include "restore/file_locks.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "resources/file_lock.h"
#include "trace/remote_calls.h"

namespace ferry::restore {
namespace {

using model::FileLock;

std::string describe(const FileLock& lock) {
    return fmt::format("process {}: the lock on descriptor {}", lock.pid, lock.fd);
}

Result<StubProcess*> owner_of(Tree& tree, const FileLock& lock) {
    StubProcess* process = tree.find(lock.pid);
    if (process != nullptr) return process;
    return fail(Error::corrupt(fmt::format("{}: there is no such process", describe(lock))));
}

Result<bool> take(StubProcess& process, const FileLock& lock) {
    const resources::LockCall call = resources::call_of(lock);
    Program program;
    const Argument range = call.range ? Argument(program.add_value(*call.range)) : Argument(0);
    const Op taken =
        program.call(call.name, call.number, {lock.fd, call.command, range}, kAnything);
    TRY(process.leader().run(program));
    const std::int64_t result = program.result(taken);
    if (result == 0) return true;
    const int code = static_cast<int>(-result);
    if (resources::is_held_elsewhere(code)) return false;
    return fail(Error::system(code, call.name));
}

}  // namespace

Result<std::vector<FileLock>> take_locks(Tree& tree, const model::Checkpoint& checkpoint) {
    std::vector<FileLock> held;
    for (const FileLock& lock : checkpoint.locks) {
        StubProcess& process = *TRY(owner_of(tree, lock));
        if (!TRY(with_context(take(process, lock), describe(lock)))) held.push_back(lock);
    }
    return held;
}

namespace {

// One of them, by a call of its owner's leader.
Result<bool> take(trace::RemoteCalls& calls, const FileLock& lock) {
    const auto taken = resources::make_lock_call(calls, lock.fd, resources::call_of(lock));
    if (taken) return true;
    if (resources::is_held_elsewhere(taken.error().code())) return false;
    return fail(taken.error());
}

// As many of one process as there are up to the first that somebody else holds.
Result<std::size_t> take_of_one(Tree& tree, std::span<const FileLock> locks) {
    StubProcess& process = *TRY(owner_of(tree, locks.front()));
    trace::Tracee& leader = process.leader().tracee();
    if (!leader.suspends_seccomp()) {
        return fail(Error::unsupported(
            fmt::format("{}: its seccomp filters could end the process", describe(locks.front()))));
    }
    const arch::Gadgets gadgets = TRY(trace::find_gadgets(process.here));
    trace::RemoteCalls calls = TRY(trace::RemoteCalls::borrow(leader, gadgets));
    std::size_t taken = 0;
    while (taken < locks.size() &&
           TRY(with_context(take(calls, locks[taken]), describe(locks[taken])))) {
        ++taken;
    }
    TRY(std::move(calls).give_back());
    return taken;
}

}  // namespace

Result<std::vector<FileLock>> take_late_locks(Tree& tree, std::vector<FileLock> locks) {
    std::ranges::stable_sort(locks, {}, [](const FileLock& lock) { return lock.pid.value; });
    std::span<const FileLock> rest = locks;
    while (!rest.empty()) {
        const auto other = std::ranges::find_if(
            rest, [&](const FileLock& lock) { return lock.pid != rest.front().pid; });
        const auto count = static_cast<std::size_t>(other - rest.begin());
        const std::size_t taken = TRY(take_of_one(tree, rest.first(count)));
        rest = rest.subspan(taken);
        if (taken < count) break;
    }
    return std::vector<FileLock>(rest.begin(), rest.end());
}

}  // namespace ferry::restore
