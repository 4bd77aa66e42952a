#include "resources/pidfd.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "os/pidfd.h"
#include "proc/process_directory.h"

namespace ferry::resources {
namespace {

// What pidfd_open(2) takes: PIDFD_THREAD and PIDFD_NONBLOCK.
constexpr std::uint32_t kOpeningFlags = O_EXCL | O_NONBLOCK;

Result<bool> belongs_to(pid_t task, std::span<const Pid> tree) {
    Pid process = TRY(TRY(proc::ProcessDirectory::open(Pid{task})).status()).process;
    while (process.value > 0) {
        if (std::ranges::find(tree, process) != tree.end()) return true;
        // Who was made or has ended a moment ago is in no list yet.
        process = TRY(TRY(proc::ProcessDirectory::open(process)).status()).parent;
    }
    return false;
}

}  // namespace

Result<> check_pidfd(const Slot& slot, std::span<const Pid> tree) {
    if (!slot.info.pidfd_task) {
        return fail(Error::corrupt(fmt::format("{}: pidfd without a task", slot.holder.text())));
    }
    const pid_t task = *slot.info.pidfd_task;
    if (task == -1 || TRY(belongs_to(task, tree))) return {};
    return refuse(slot.holder, fmt::format("a pidfd of task {}, which is outside of the tree: "
                                           "close it",
                                           task));
}

Result<model::PidFile> read_pidfd(int copy, const Slot& slot, std::span<const Pid> tree) {
    TRY(check_pidfd(slot, tree));
    const pid_t task = *slot.info.pidfd_task;
    if (task != -1) return model::PidFile{.task = task, .inode = 0, .exit_status = {}};
    return model::PidFile{.task = 0,
                          .inode = static_cast<std::uint32_t>(slot.info.inode),
                          .exit_status = os::exit_status_of(copy)};
}

Result<std::map<model::FileId, os::UniqueFd>> open_pidfds(const model::Checkpoint& checkpoint,
                                                          const os::PidNamespace& pids) {
    struct Ended {
        int status = 0;
        std::vector<model::FileId> files;
        std::vector<std::uint32_t> flags;
    };
    std::map<std::uint32_t, Ended> ended;
    std::map<model::FileId, os::UniqueFd> opened;
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* pidfd = std::get_if<model::PidFile>(&file.body);
        if (pidfd == nullptr) continue;
        const std::uint32_t flags = file.flags & kOpeningFlags;
        if (pidfd->task != 0) {
            opened[file.id] = TRY(os::open_pidfd(TRY(pids.ours(Tid{pidfd->task})), flags));
            continue;
        }
        Ended& task = ended[pidfd->inode];
        task.status = pidfd->exit_status.value_or(0);
        task.files.push_back(file.id);
        task.flags.push_back(flags);
    }
    for (const auto& [inode, task] : ended) {
        auto fds = TRY(os::pidfds_of_ended(pids, task.status, task.flags));
        for (std::size_t i = 0; i < fds.size(); ++i) opened[task.files[i]] = std::move(fds[i]);
    }
    return opened;
}

}  // namespace ferry::resources
