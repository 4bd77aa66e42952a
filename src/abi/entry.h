// The arguments of the program blob/entry (docs/format/blob_abi.md), which maps a flat image in the
// place where a container runtime has started it. All but the program's name are hexadecimal.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ferry::abi {

enum class EntryArgument : std::size_t {
    Name = 0,      // by which it can be executed again
    Attempt = 1,   // one digit, begins with 0
    Memory = 2,    // descriptor of the image
    Socket = 3,    // descriptor of the socket
    SocketNumber,  // the number that the socket is to have
    Base,          // where the image goes
    Bytes,         // of the image
    CodeBytes,     // at its start: read and execute; the rest read and write
    Entry,         // address of void(void*)
    Argument,      // its argument
    StackTop,      // 16-byte aligned
};
inline constexpr std::size_t kEntryArguments = 11;
static_assert(kEntryArguments == static_cast<std::size_t>(EntryArgument::StackTop) + 1);

}  // namespace ferry::abi
