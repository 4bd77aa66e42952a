// Pseudo-terminals (pty(7)) whose master the tree has: a terminal emulator, a multiplexer, a
// login server with what runs in them. A master has one open file description; slaves are opened by
// path as often as somebody likes. Of a container also the one that its runtime made for it and
// gave to it as standard streams and /dev/console; whoever holds its master is asked nothing
// (docs/decisions/0044).
//
// Not carried, since nobody shows it: whether output is stopped (XOFF), and a line that is typed
// but not ended while the terminal edits lines (ICANON). What else is unread is waited for: its
// readers are there.
//
// Source relied upon: drivers/tty/pty.c, tty_io.c, n_tty.c of Linux 6.18; ioctl_tty(2).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "model/terminal.h"
#include "os/fd.h"
#include "resources/descriptions.h"
#include "resources/table_scan.h"

namespace ferry::resources {

// Whether it may be one: /dev/ptmx, /dev/pts/*, /dev/tty.
[[nodiscard]] bool is_terminal_link(std::string_view link);
// Of a task's controlling terminal as stat shows it; nothing: none, or no pseudo-terminal.
[[nodiscard]] std::optional<std::uint32_t> terminal_of_device(std::uint32_t tty);

// What the descriptors of a tree show of terminals.
class TerminalTable {
  public:
    // `root`: before paths of the tree; `given`: the index of the container's terminal.
    static Result<TerminalTable> of(std::span<const Slot> slots, TableScanner& scanner,
                                    const std::string& root, std::optional<std::uint32_t> given);
    // What it is; nothing: no pseudo-terminal whose master is among them, nor the given one.
    [[nodiscard]] std::optional<model::TerminalFile> find(const Holder& holder) const;
    // All of them, ascending. `busy`: why they cannot be carried at this moment, if so.
    // Unsupported, by name: a line discipline.
    Result<std::vector<model::Terminal>> read(std::string& busy) const;

  private:
    struct End {
        Holder holder;
        std::uint32_t index = 0;
        bool is_master = false;
        std::string path;
        os::UniqueFd copy;
    };
    TerminalTable(std::string root, std::optional<std::uint32_t> given)
        : root_(std::move(root)), given_(given) {}
    // Nothing happens if it is no pseudo-terminal.
    Result<> add(const Slot& slot, os::UniqueFd copy);
    [[nodiscard]] const End* find_end(std::uint32_t index, bool is_master) const;
    // `end`: of several that show the same, one.
    Result<model::Terminal> read_one(const End& end, std::string& busy) const;
    Result<> read_session(model::Terminal& terminal) const;

    std::string root_;
    std::optional<std::uint32_t> given_;
    std::vector<End> ends_;
};

// The other half. A new pair with this index, by its master, unlocked. Paths lead from our root
// (os::RootScope). Invalid: the index is taken.
Result<os::UniqueFd> open_master(const model::Terminal& terminal);
Result<os::UniqueFd> open_slave(std::uint32_t index, std::uint32_t flags);
// The same by the path that it was opened with.
Result<os::UniqueFd> open_slave(const model::TerminalFile& file, std::uint32_t flags);
// Everything but its session and foreground; the last thing, for it may be locked then. `slave`: -1
// if none was opened; `master`: -1 if it is outside. A foreground group is told of another size.
Result<> settle_terminal(int master, int slave, const model::Terminal& terminal);

}  // namespace ferry::resources
