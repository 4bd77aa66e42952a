// Pseudo-terminals, as values (pty(7)).
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>

namespace ferry::model {

// As struct termios2 of the kernel has it (ioctl_tty(2)).
struct TerminalModes {
    std::uint32_t input = 0, output = 0, control = 0, local = 0;
    std::uint8_t line = 0;
    std::array<std::uint8_t, 19> characters = {};
    std::uint32_t input_speed = 0, output_speed = 0;
    bool operator==(const TerminalModes&) const = default;
};

// A pair whose master some process of the tree has open, or, of a container, the one that its
// runtime made for it, whose master somebody outside holds.
struct Terminal {
    std::uint32_t index = 0;                 // the slave is /dev/pts/INDEX
    std::string master_path;                 // with which the master was opened; empty: outside
    std::uint32_t mode = 0;                  // of the slave: permissions
    std::uint32_t uid = 0, gid = 0;          // of the slave
    bool locked = false;                     // TIOCSPTLCK
    bool exclusive = false;                  // TIOCEXCL on the slave
    bool packets = false;                    // TIOCPKT
    bool hung_up = false;                    // a slave has been open, and none is
    TerminalModes modes, locked_modes;       // of the latter, bits that may not be changed
    std::array<std::uint16_t, 4> size = {};  // rows, columns, then both in pixels
    // Whose controlling terminal it is, and which group is in the foreground; 0: nobody.
    pid_t session = 0, foreground = 0;
    bool operator==(const Terminal&) const = default;

    // By the container's runtime.
    [[nodiscard]] bool is_given() const { return master_path.empty(); }
};

}  // namespace ferry::model
