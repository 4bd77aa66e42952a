#include "restore/file_locks.h"

#include <fmt/format.h>

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

Result<bool> take_late_lock(Tree& tree, const FileLock& lock) {
    StubProcess& process = *TRY(owner_of(tree, lock));
    trace::Tracee& leader = process.leader().tracee();
    if (!leader.suspends_seccomp()) {
        return fail(Error::unsupported(
            fmt::format("{}: its seccomp filters could end the process", describe(lock))));
    }
    const arch::Gadgets gadgets = TRY(trace::find_gadgets(process.here));
    trace::RemoteCalls calls = TRY(trace::RemoteCalls::borrow(leader, gadgets));
    const resources::LockCall call = resources::call_of(lock);
    if (call.range) TRY(calls.write_scratch(std::as_bytes(std::span(&*call.range, 1))));
    const auto taken = calls.call(
        call.number, {static_cast<std::uint64_t>(lock.fd), call.command, calls.scratch().value});
    TRY(std::move(calls).give_back());
    if (taken) return true;
    if (resources::is_held_elsewhere(taken.error().code())) return false;
    return fail(taken.error());
}

}  // namespace ferry::restore
