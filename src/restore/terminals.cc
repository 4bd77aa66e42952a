#include "restore/terminals.h"

#include <asm/ioctls.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>

#include "os/file_tree.h"
#include "os/scope.h"
#include "resources/terminal.h"

namespace ferry::restore {
namespace {

bool is_opened(const model::Checkpoint& checkpoint, const model::Terminal& terminal) {
    if (terminal.is_given() || terminal.session != 0 || terminal.hung_up) return true;
    return std::ranges::any_of(checkpoint.files, [&](const model::OpenFile& file) {
        const auto* end = std::get_if<model::TerminalFile>(&file.body);
        return end != nullptr && !end->is_master && end->index == terminal.index;
    });
}

// ioctl() on `terminal`, a descriptor of ours, by the stub.
Result<> ioctl_by(StubProcess& process, int terminal, const char* name, unsigned long request,
                  std::optional<pid_t> group) {
    Program program;
    const Receiver received(program, process.leader().socket_number(), 1);
    if (group) {
        program.call(name, SYS_ioctl, {received.fd(0), request, program.add_value(*group)});
    } else {
        program.call(name, SYS_ioctl, {received.fd(0), request, 0});
    }
    program.call("close", SYS_close, {received.fd(0)});
    return process.leader().run(program, std::span(&terminal, 1));
}

}  // namespace

Result<> Terminals::follow(const model::Checkpoint& skeleton, int root,
                           const std::optional<os::UserIds>& user) {
    std::erase_if(pairs_, [&](const auto& known) {
        return std::ranges::find(skeleton.terminals, known.first, &model::Terminal::index) ==
               skeleton.terminals.end();
    });
    if (skeleton.terminals.empty()) return {};
    const os::UserScope as_user = TRY(os::UserScope::enter(user));
    const os::RootScope there = TRY(os::RootScope::enter(root));
    for (const model::Terminal& terminal : skeleton.terminals) {
        Pair& pair = pairs_[terminal.index];
        if (terminal.is_given()) TRY(check_given(terminal));
        if (!terminal.is_given() && !pair.master) TRY(make_master(pair, terminal));
        if (pair.slave || !is_opened(skeleton, terminal)) continue;
        pair.slave = TRY(resources::open_slave(terminal.index, O_RDWR));
    }
    return {};
}

Result<> Terminals::make_master(Pair& pair, const model::Terminal& terminal) {
    pair.master = TRY(resources::open_master(terminal));
    // Now, while nobody would be told of it.
    model::Terminal unlocked = terminal;
    unlocked.locked = false;
    return resources::settle_terminal(pair.master.get(), -1, unlocked);
}

// What is at its path is somebody else's otherwise.
Result<> Terminals::check_given(const model::Terminal& terminal) const {
    if (given_ == terminal.index) return {};
    return fail(Error::invalid(
        fmt::format("the container's terminal was /dev/pts/{}, and is {} here", terminal.index,
                    given_ ? fmt::format("/dev/pts/{}", *given_) : "none")));
}

int Terminals::master(std::uint32_t index) const {
    const auto found = pairs_.find(index);
    return found == pairs_.end() ? -1 : found->second.master.get();
}

int Terminals::slave(std::uint32_t index) const {
    const auto found = pairs_.find(index);
    return found == pairs_.end() ? -1 : found->second.slave.get();
}

Result<> Terminals::control(StubProcess& process, const model::Process& wanted) const {
    if (process.terminal == wanted.terminal) return {};
    const bool leads = wanted.session == wanted.pid;
    const int terminal = slave(process.terminal ? *process.terminal : *wanted.terminal);
    if (terminal >= 0 && process.terminal && !wanted.terminal && !leads) {
        TRY(ioctl_by(process, terminal, "TIOCNOTTY", TIOCNOTTY, std::nullopt));
    } else if (terminal >= 0 && !process.terminal && leads) {
        TRY(ioctl_by(process, terminal, "TIOCSCTTY", TIOCSCTTY, std::nullopt));
    } else {
        return fail(Error::unsupported(fmt::format(
            "process {} has given up or changed its controlling terminal", wanted.pid)));
    }
    process.terminal = wanted.terminal;
    return {};
}

Result<> Terminals::settle(const model::Checkpoint& final, int root) const {
    for (const model::Terminal& terminal : final.terminals) {
        const Pair& pair = pairs_.at(terminal.index);
        TRY(resources::settle_terminal(pair.master.get(), pair.slave.get(), terminal));
        const os::RootScope there = TRY(os::RootScope::enter(root));
        const std::string path = fmt::format("/dev/pts/{}", terminal.index);
        TRY(os::fchownat(os::kCwd, path, terminal.uid, terminal.gid));
        TRY(os::fchmodat(os::kCwd, path, terminal.mode));
    }
    return {};
}

Result<> Terminals::set_foreground(StubProcess& leader, const model::Terminal& terminal) const {
    return ioctl_by(leader, slave(terminal.index), "TIOCSPGRP", TIOCSPGRP, terminal.foreground);
}

}  // namespace ferry::restore
