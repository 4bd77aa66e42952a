#include "image/terminal_codec.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/limits.h"
#include "image/proto/terminal.pb.h"
#include "image/records.h"

namespace ferry::image {
namespace {

constexpr const char* kName = "tty-info.img";
constexpr std::uint32_t kPty = 1;
constexpr unsigned kMasterMajor = 5, kMasterMinor = 2, kSlaveMajor = 136;  // devices.txt
constexpr std::uint32_t kIndexMax = 1u << 20;
// CRIU has a word for each character, and the characters, as bytes, in the first of the words.
constexpr int kCharacterWords = 19;
constexpr std::uint32_t kDefaultMode = 0620;  // what grantpt(3) gives

// new_encode_dev() of the kernel, as st_rdev has it.
std::uint32_t device_of(unsigned device_major, unsigned device_minor) {
    return static_cast<std::uint32_t>(makedev(device_major, device_minor));
}

void modes_to_wire(const model::TerminalModes& modes, wire::TtyModes& into) {
    into.set_c_iflag(modes.input);
    into.set_c_oflag(modes.output);
    into.set_c_cflag(modes.control);
    into.set_c_lflag(modes.local);
    into.set_c_line(modes.line);
    into.set_c_ispeed(modes.input_speed);
    into.set_c_ospeed(modes.output_speed);
    std::array<std::uint32_t, kCharacterWords> words = {};
    std::memcpy(words.data(), modes.characters.data(), modes.characters.size());
    into.mutable_c_cc()->Assign(words.begin(), words.end());
}

Result<model::TerminalModes> modes_from_wire(const wire::TtyModes& from) {
    model::TerminalModes modes = {.input = from.c_iflag(),
                                  .output = from.c_oflag(),
                                  .control = from.c_cflag(),
                                  .local = from.c_lflag(),
                                  .characters = {},
                                  .input_speed = from.c_ispeed(),
                                  .output_speed = from.c_ospeed()};
    if (from.c_line() != 0) return fail(Error::unsupported("a terminal with a line discipline"));
    std::array<std::uint32_t, kCharacterWords> words = {};
    if (from.c_cc_size() != kCharacterWords) return fail(Error::corrupt("a terminal's characters"));
    std::ranges::copy(from.c_cc(), words.begin());
    std::memcpy(modes.characters.data(), words.data(), modes.characters.size());
    return modes;
}

void end_to_wire(const model::Terminal& terminal, bool is_master, wire::TtyInfo& into) {
    into.set_id(terminal_record(terminal.index, is_master));
    into.set_type(kPty);
    into.set_locked(terminal.locked);
    into.set_exclusive(!is_master && terminal.exclusive);
    into.set_packet_mode(terminal.packets);
    into.set_sid(static_cast<std::uint32_t>(terminal.session));
    into.set_pgrp(static_cast<std::uint32_t>(terminal.foreground));
    into.set_rdev(is_master ? device_of(kMasterMajor, kMasterMinor)
                            : device_of(kSlaveMajor, terminal.index));
    modes_to_wire(terminal.modes, *into.mutable_termios());
    modes_to_wire(terminal.locked_modes, *into.mutable_termios_locked());
    wire::TtySize& size = *into.mutable_winsize();
    size.set_ws_row(terminal.size[0]);
    size.set_ws_col(terminal.size[1]);
    size.set_ws_xpixel(terminal.size[2]);
    size.set_ws_ypixel(terminal.size[3]);
    into.mutable_pty()->set_index(terminal.index);
    into.set_uid(terminal.uid);
    into.set_gid(terminal.gid);
}

bool has_slave(const model::Checkpoint& checkpoint, std::uint32_t index) {
    return std::ranges::any_of(checkpoint.files, [&](const model::OpenFile& file) {
        const auto* end = std::get_if<model::TerminalFile>(&file.body);
        return end != nullptr && end->index == index && !end->is_master;
    });
}

Result<> end_from_wire(const wire::TtyInfo& from, bool is_master, model::Terminal& into) {
    const auto pid = [](std::uint32_t id) { return static_cast<pid_t>(id); };
    if (from.sid() >= limits::kTasksMax || from.pgrp() >= limits::kTasksMax) {
        return fail(Error::corrupt("a terminal's session"));
    }
    into.index = from.pty().index();
    into.locked = into.locked || from.locked();
    into.exclusive = into.exclusive || (!is_master && from.exclusive());
    into.packets = into.packets || from.packet_mode();
    into.session = std::max(into.session, pid(from.sid()));
    into.foreground = std::max(into.foreground, pid(from.pgrp()));
    // The pair has the same, whichever end is asked. The slave's owner is that of its file.
    if (!is_master || into.uid == 0) into.uid = from.uid();
    if (!is_master || into.gid == 0) into.gid = from.gid();
    if (from.has_termios()) into.modes = TRY(modes_from_wire(from.termios()));
    if (from.has_termios_locked()) into.locked_modes = TRY(modes_from_wire(from.termios_locked()));
    const wire::TtySize& size = from.winsize();
    const std::array values = {size.ws_row(), size.ws_col(), size.ws_xpixel(), size.ws_ypixel()};
    for (std::size_t i = 0; i < values.size(); ++i) {
        into.size.at(i) = static_cast<std::uint16_t>(values.at(i));
    }
    return {};
}

}  // namespace

std::uint32_t terminal_record(std::uint32_t index, bool is_master) {
    return (index << 1) + (is_master ? 1 : 0);
}

Result<> put_terminals(const model::Checkpoint& checkpoint, ImageStore& into,
                       wire::FerryCheckpoint& extra) {
    if (checkpoint.terminals.empty()) return {};
    RecordWriter writer(Magic::TtyInfo);
    for (const model::Terminal& terminal : checkpoint.terminals) {
        for (const bool is_master : {true, false}) {
            // One of a pair there is always.
            const bool is_there = terminal.is_given()
                                      ? !is_master
                                      : is_master || has_slave(checkpoint, terminal.index);
            if (!is_there) continue;
            wire::TtyInfo entry;
            end_to_wire(terminal, is_master, entry);
            TRY(writer.add(entry));
        }
        wire::FerryTerminal& more = *extra.add_terminals();
        more.set_index(terminal.index);
        more.set_mode(terminal.mode);
        more.set_uid(terminal.uid);
        more.set_gid(terminal.gid);
        more.set_hung_up(terminal.hung_up);
        more.set_master_path(terminal.master_path);
        for (const model::Process& process : checkpoint.processes) {
            if (process.terminal == terminal.index) more.add_controlled(process.pid.value);
        }
    }
    return into.put(kName, writer.bytes());
}

Result<TerminalRecords> TerminalRecords::get(const ImageStore& from,
                                             const wire::FerryCheckpoint& extra) {
    TerminalRecords records;
    const std::optional<model::Bytes> bytes = TRY(from.get(kName));
    if (!bytes) return records;
    RecordReader reader = TRY(RecordReader::open(kName, *bytes, Magic::TtyInfo));
    std::map<std::uint32_t, model::Terminal> terminals;
    std::vector<std::uint32_t> carried;
    while (!reader.at_end()) {
        wire::TtyInfo entry;
        TRY(reader.next(entry));
        if (entry.type() != kPty || !entry.has_pty()) continue;
        const std::uint32_t index = entry.pty().index();
        if (index >= kIndexMax) return fail(Error::corrupt("a terminal's index"));
        const bool is_master = entry.rdev() == device_of(kMasterMajor, kMasterMinor);
        TRY(end_from_wire(entry, is_master, terminals[index]));
        if (is_master) carried.push_back(index);
        records.ends_[entry.id()] = {.index = index, .is_master = is_master, .path = {}};
    }
    for (const wire::FerryTerminal& more : extra.terminals()) {
        if (more.master_path().empty()) carried.push_back(more.index());
    }
    for (const std::uint32_t index : carried) records.terminals_[index] = terminals[index];
    return records;
}

std::optional<model::TerminalFile> TerminalRecords::find(std::uint32_t number) const {
    const auto end = ends_.find(number);
    if (end == ends_.end() || !terminals_.contains(end->second.index)) return std::nullopt;
    return end->second;
}

Result<> TerminalRecords::finish(const wire::FerryCheckpoint& extra,
                                 model::Checkpoint& into) const {
    std::map<std::uint32_t, model::Terminal> terminals = terminals_;
    for (const model::OpenFile& file : into.files) {
        const auto* end = std::get_if<model::TerminalFile>(&file.body);
        if (end != nullptr && end->is_master) terminals[end->index].master_path = end->path;
    }
    for (auto& [index, terminal] : terminals) {
        const auto mode = slave_modes_.find(index);
        terminal.mode = mode == slave_modes_.end() ? kDefaultMode : mode->second;
        const auto more = std::ranges::find(extra.terminals(), index, &wire::FerryTerminal::index);
        const bool is_ours = more != extra.terminals().end();
        if (is_ours) {
            terminal.mode = more->mode();
            terminal.uid = more->uid();
            terminal.gid = more->gid();
            terminal.hung_up = more->hung_up();
            terminal.master_path = more->master_path();
        }
        for (model::Process& process : into.processes) {
            // CRIU gives it to whoever is in the session.
            const bool has_it =
                is_ours ? std::ranges::find(more->controlled(), process.pid.value) !=
                              more->controlled().end()
                        : terminal.session != 0 && process.session.value == terminal.session;
            if (has_it && !process.is_zombie) process.terminal = index;
        }
        into.terminals.push_back(terminal);
    }
    return {};
}

}  // namespace ferry::image
