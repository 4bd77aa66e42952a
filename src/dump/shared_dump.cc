#include "dump/shared_dump.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "os/description.h"
#include "os/fd.h"
#include "proc/process_directory.h"

namespace ferry::dump {
namespace {

constexpr std::uint64_t kBufferBytes = 1 << 20;

// Where the next data (SEEK_DATA) or hole (SEEK_HOLE) begins; `end` if there is none before.
Result<std::uint64_t> seek(int fd, std::uint64_t from, std::uint64_t end, int whence) {
    const auto found = os::lseek(fd, static_cast<std::int64_t>(from), whence);
    if (!found && found.error().code() == ENXIO) return end;
    if (!found) return fail(found.error());
    return std::min(end, static_cast<std::uint64_t>(*found));
}

}  // namespace

Result<> dump_shared_memory(const model::SharedMemory& memory, image::PagemapWriter& into) {
    const os::UniqueFd object =
        TRY(os::open(proc::mapped_file(memory.pid, memory.range), O_RDONLY));
    std::vector<std::byte> buffer(std::min(kBufferBytes, memory.bytes));
    std::uint64_t at = 0;
    while (at < memory.bytes) {
        at = TRY(seek(object.get(), at, memory.bytes, SEEK_DATA));
        const std::uint64_t hole = TRY(seek(object.get(), at, memory.bytes, SEEK_HOLE));
        while (at < hole) {
            const std::span<std::byte> piece =
                std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), hole - at));
            TRY(os::pread_all(object.get(), piece, at));
            TRY(into.append({{at}, {at + piece.size()}}, piece));
            at += piece.size();
        }
    }
    return {};
}

}  // namespace ferry::dump
