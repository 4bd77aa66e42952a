#include "resources/terminal.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tty.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "os/inet.h"
#include "proc/process_directory.h"

namespace ferry::resources {
namespace {

constexpr unsigned kSlaveMajor = 136;  // UNIX98_PTY_SLAVE_MAJOR
constexpr std::uint32_t kPermissions = 07777;
constexpr std::string_view kConsole = "/dev/console";  // of a container: its terminal

std::string slave_path(std::uint32_t index) {
    return fmt::format("/dev/pts/{}", index);
}

template <class Value>
Result<Value> ask(int fd, unsigned long request) {
    Value value = {};
    TRY(os::ioctl(fd, request, &value));
    return value;
}

Result<> tell(int fd, unsigned long request, int value) {
    TRY(os::ioctl(fd, request, &value));
    return {};
}

// ENOTTY: no session, or nobody in the foreground.
Result<pid_t> ask_pid(int master, unsigned long request) {
    const auto pid = ask<pid_t>(master, request);
    if (!pid && pid.error().code() == ENOTTY) return 0;
    return pid;
}

// struct termios and struct termios2 begin alike.
template <class Kernel>
model::TerminalModes to_model(const Kernel& from) {
    model::TerminalModes modes = {.input = from.c_iflag,
                                  .output = from.c_oflag,
                                  .control = from.c_cflag,
                                  .local = from.c_lflag,
                                  .line = from.c_line,
                                  .characters = {}};
    std::ranges::copy(from.c_cc, modes.characters.begin());
    return modes;
}

template <class Kernel>
Kernel to_kernel(const model::TerminalModes& modes) {
    Kernel into = {};
    into.c_iflag = modes.input;
    into.c_oflag = modes.output;
    into.c_cflag = modes.control;
    into.c_lflag = modes.local;
    into.c_line = modes.line;
    std::ranges::copy(modes.characters, into.c_cc);
    return into;
}

Result<short> poll_now(int fd) {
    std::array<pollfd, 1> polled = {{{.fd = fd, .events = POLLIN, .revents = 0}}};
    TRY(os::poll(polled, 0));
    return polled[0].revents;
}

}  // namespace

bool is_terminal_link(std::string_view link) {
    return link == "/dev/ptmx" || link == "/dev/tty" || link == kConsole ||
           link.starts_with("/dev/pts/");
}

std::optional<std::uint32_t> terminal_of_device(std::uint32_t tty) {
    // As of new_encode_dev() in the kernel's kdev_t.h.
    const unsigned number = (tty & 0xff) | ((tty >> 12) & 0xfff00);
    if (((tty >> 8) & 0xfff) != kSlaveMajor) return std::nullopt;
    return number;
}

Result<TerminalTable> TerminalTable::of(std::span<const Slot> slots, TableScanner& scanner,
                                        const std::string& root,
                                        std::optional<std::uint32_t> given) {
    TerminalTable table(root, given);
    for (const Slot& slot : slots) {
        if (slot.kind != FileKind::Path || !is_terminal_link(slot.link)) continue;
        auto copy = scanner.duplicate(slot.holder);
        if (!copy && copy.error().kind() == Error::Kind::Gone) continue;
        TRY(table.add(slot, TRY(std::move(copy))));
    }
    return table;
}

Result<> TerminalTable::add(const Slot& slot, os::UniqueFd copy) {
    End end = {.holder = slot.holder, .path = slot.link, .copy = std::move(copy)};
    if (const auto index = ask<unsigned>(end.copy.get(), TIOCGPTN)) {
        end.index = *index;
        end.is_master = true;
    } else {
        // Fails where it has been hung up.
        const auto device = ask<unsigned>(end.copy.get(), TIOCGDEV);
        const auto of_slave = device ? terminal_of_device(*device) : std::nullopt;
        if (!of_slave) return {};
        end.index = *of_slave;
        if (end.path != kConsole) end.path = slave_path(end.index);
        // There may be other file systems of terminals.
        const struct stat own = TRY(os::fstat(end.copy.get()));
        const auto by_path = os::fstatat(os::kCwd, root_ + end.path);
        const bool is_that =
            major(own.st_rdev) != kSlaveMajor || (by_path && by_path->st_dev == own.st_dev);
        if (!is_that) return {};
    }
    ends_.push_back(std::move(end));
    return {};
}

const TerminalTable::End* TerminalTable::find_end(std::uint32_t index, bool is_master) const {
    const auto found = std::ranges::find_if(
        ends_, [&](const End& end) { return end.index == index && end.is_master == is_master; });
    return found == ends_.end() ? nullptr : &*found;
}

std::optional<model::TerminalFile> TerminalTable::find(const Holder& holder) const {
    const auto end = std::ranges::find_if(ends_, [&](const End& one) {
        return one.holder.pid == holder.pid && one.holder.fd == holder.fd;
    });
    if (end == ends_.end()) return std::nullopt;
    if (end->index != given_ && find_end(end->index, true) == nullptr) return std::nullopt;
    return model::TerminalFile{.index = end->index, .is_master = end->is_master, .path = end->path};
}

// The kernel tells a slave's session only to those in it.
Result<> TerminalTable::read_session(model::Terminal& terminal) const {
    for (const End& end : ends_) {
        const auto directory = proc::ProcessDirectory::open(end.holder.pid);
        const auto stat = directory ? directory->stat() : fail(directory.error());
        if (!stat) continue;  // it has ended
        if (terminal_of_device(static_cast<std::uint32_t>(stat->tty)) != terminal.index) continue;
        terminal.session = stat->session.value;
        terminal.foreground = std::max(stat->foreground.value, 0);
        return {};
    }
    return {};
}

Result<model::Terminal> TerminalTable::read_one(const End& end, std::string& busy) const {
    const int fd = end.copy.get();
    const End* slave = end.is_master ? find_end(end.index, false) : &end;
    model::Terminal terminal;
    terminal.index = end.index;
    const struct stat status = TRY(os::fstatat(os::kCwd, root_ + slave_path(end.index)));
    terminal.mode = status.st_mode & kPermissions;
    terminal.uid = status.st_uid;
    terminal.gid = status.st_gid;
    if (end.is_master) {
        terminal.master_path = end.path;
        terminal.locked = TRY(ask<int>(fd, TIOCGPTLCK)) != 0;
        terminal.packets = TRY(ask<int>(fd, TIOCGPKT)) != 0;
        terminal.session = TRY(ask_pid(fd, TIOCGSID));
        if (terminal.session != 0) terminal.foreground = TRY(ask_pid(fd, TIOCGPGRP));
    } else {
        TRY(read_session(terminal));
    }
    if (slave != nullptr) terminal.exclusive = TRY(ask<int>(slave->copy.get(), TIOCGEXCL)) != 0;
    const auto modes = TRY(ask<struct termios2>(fd, TCGETS2));
    terminal.modes = to_model(modes);
    terminal.modes.input_speed = modes.c_ispeed;
    terminal.modes.output_speed = modes.c_ospeed;
    terminal.locked_modes = to_model(TRY(ask<struct termios>(fd, TIOCGLCKTRMIOS)));
    terminal.size = TRY((ask<std::array<std::uint16_t, 4>>(fd, TIOCGWINSZ)));
    if (terminal.modes.line != N_TTY) {
        return refuse(end.holder, fmt::format("the terminal {} with line discipline {}",
                                              slave_path(end.index), terminal.modes.line));
    }
    const short events = TRY(poll_now(fd));
    terminal.hung_up = (events & POLLHUP) != 0;
    const bool is_unread = (events & POLLIN) != 0 ||
                           (slave != nullptr && (TRY(poll_now(slave->copy.get())) & POLLIN) != 0);
    if (is_unread) {
        busy = fmt::format("{}: the terminal {} holds unread input or output", end.holder.text(),
                           slave_path(end.index));
    }
    return terminal;
}

Result<std::vector<model::Terminal>> TerminalTable::read(std::string& busy) const {
    std::map<std::uint32_t, model::Terminal> terminals;
    for (const End& end : ends_) {
        const bool is_asked = end.is_master || end.index == given_;
        if (!is_asked || terminals.contains(end.index)) continue;
        terminals.emplace(end.index, TRY(read_one(end, busy)));
    }
    std::vector<model::Terminal> result;
    for (auto& [index, terminal] : terminals) result.push_back(std::move(terminal));
    return result;
}

Result<os::UniqueFd> open_master(const model::Terminal& terminal) {
    // The lowest index that is free is given: those below are taken until ours comes.
    std::vector<os::UniqueFd> others;
    for (;;) {
        os::UniqueFd master = TRY(os::open(terminal.master_path, O_RDWR | O_NOCTTY));
        const auto index = TRY(ask<unsigned>(master.get(), TIOCGPTN));
        if (index == terminal.index) {
            TRY(tell(master.get(), TIOCSPTLCK, 0));
            return master;
        }
        if (index > terminal.index) {
            return fail(
                Error::invalid(fmt::format("terminal {} is in use", slave_path(terminal.index))));
        }
        others.push_back(std::move(master));
    }
}

Result<os::UniqueFd> open_slave(std::uint32_t index, std::uint32_t flags) {
    return os::open(slave_path(index), static_cast<int>(flags) | O_NOCTTY);
}

Result<os::UniqueFd> open_slave(const model::TerminalFile& file, std::uint32_t flags) {
    if (file.path != kConsole) return open_slave(file.index, flags);
    return os::open(file.path, static_cast<int>(flags) | O_NOCTTY);
}

Result<> settle_terminal(int master, int slave, const model::Terminal& terminal) {
    const int either = master >= 0 ? master : slave;  // what both have is set by both
    auto size = terminal.size;
    if (TRY((ask<std::array<std::uint16_t, 4>>(either, TIOCGWINSZ))) != size) {
        TRY(os::ioctl(either, TIOCSWINSZ, &size));
    }
    // Off meanwhile, so that the master is not told of what is set here.
    if (master >= 0) TRY(tell(master, TIOCPKT, 0));
    auto modes = to_kernel<struct termios2>(terminal.modes);
    modes.c_ispeed = terminal.modes.input_speed;
    modes.c_ospeed = terminal.modes.output_speed;
    TRY(os::ioctl(either, TCSETS2, &modes));
    auto locked = to_kernel<struct termios>(terminal.locked_modes);
    TRY(os::ioctl(either, TIOCSLCKTRMIOS, &locked));
    if (master >= 0) TRY(tell(master, TIOCPKT, terminal.packets ? 1 : 0));
    if (slave >= 0 && terminal.exclusive) TRY(os::ioctl(slave, TIOCEXCL, nullptr));
    if (master < 0) return {};
    return tell(master, TIOCSPTLCK, terminal.locked ? 1 : 0);
}

}  // namespace ferry::resources
