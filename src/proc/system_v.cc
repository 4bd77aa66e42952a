#include "proc/system_v.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <tuple>

#include "proc/tables.h"
#include "proc/text.h"

namespace ferry::proc {
namespace {

// The words of each line after the headings. The order is the kernel's (ipc/shm.c, sem.c, msg.c);
// later kernels may add columns at the end.
template <class Row, class Read>
Result<std::vector<Row>> parse(std::string_view text, std::size_t columns, Read read) {
    std::vector<Row> rows;
    std::ignore = take_until(text, '\n');
    while (!text.empty()) {
        std::string_view line = take_until(text, '\n');
        const std::string whole(line);
        std::vector<std::int64_t> words;
        while (words.size() < columns) {
            constexpr std::size_t kMode = 2;
            const auto word =
                to_number<std::int64_t>(take_word(line), words.size() == kMode ? 8 : 10);
            if (!word) return fail(Error::corrupt(fmt::format("sysvipc: \"{}\"", whole)));
            words.push_back(*word);
        }
        rows.push_back(read(std::span<const std::int64_t>(words)));
    }
    return rows;
}

// `owner` is the first of uid, gid, cuid and cgid.
SystemVObject object(std::span<const std::int64_t> words, std::size_t owner) {
    return {.key = static_cast<std::int32_t>(words[0]),
            .id = static_cast<std::int32_t>(words[1]),
            .mode = static_cast<std::uint32_t>(words[2]),
            .uid = static_cast<std::uint32_t>(words[owner]),
            .gid = static_cast<std::uint32_t>(words[owner + 1]),
            .cuid = static_cast<std::uint32_t>(words[owner + 2]),
            .cgid = static_cast<std::uint32_t>(words[owner + 3])};
}

SystemVUse use(std::int64_t pid, std::int64_t time) {
    return {.pid = Pid{static_cast<std::int32_t>(pid)}, .time = time};
}

}  // namespace

// key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime ...
Result<std::vector<SystemVSegment>> parse_system_v_segments(std::string_view text) {
    return parse<SystemVSegment>(text, 14, [](std::span<const std::int64_t> words) {
        return SystemVSegment{.object = object(words, 7),
                              .bytes = static_cast<std::uint64_t>(words[3]),
                              .attached = static_cast<std::uint64_t>(words[6]),
                              .created = use(words[4], words[13]),
                              .last = use(words[5], std::max(words[11], words[12]))};
    });
}

// key semid perms nsems uid gid cuid cgid otime ...
Result<std::vector<SystemVSemaphores>> parse_system_v_semaphores(std::string_view text) {
    return parse<SystemVSemaphores>(text, 9, [](std::span<const std::int64_t> words) {
        return SystemVSemaphores{.object = object(words, 4),
                                 .count = static_cast<std::uint32_t>(words[3]),
                                 .last = words[8]};
    });
}

// key msqid perms cbytes qnum lspid lrpid uid gid cuid cgid stime rtime ...
Result<std::vector<SystemVQueue>> parse_system_v_queues(std::string_view text) {
    return parse<SystemVQueue>(text, 13, [](std::span<const std::int64_t> words) {
        return SystemVQueue{.object = object(words, 7),
                            .messages = static_cast<std::uint32_t>(words[4]),
                            .sent = use(words[5], words[11]),
                            .received = use(words[6], words[12])};
    });
}

}  // namespace ferry::proc
