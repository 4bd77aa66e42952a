#include "image/validate.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <unordered_map>
#include <unordered_set>

#include "base/limits.h"

namespace ferry::image {

namespace {

using model::VmaKind;

constexpr std::size_t kAffinityBytesMax = 1024;
constexpr std::size_t kPathMax = 4096;

class Validator {
  public:
    Validator(const model::Checkpoint& checkpoint, Error::Kind kind)
        : checkpoint_(checkpoint), kind_(kind) {}

    Result<> run() {
        TRY(check_files());
        TRY(check_ipc());
        TRY(check_posix_queues());
        TRY(check_processes());
        TRY(check_notifications());
        TRY(check_in_flight());
        TRY(check_pidfds());
        TRY(check_terminals());
        return check_locks();
    }

  private:
    template <class... Args>
    [[nodiscard]] std::unexpected<Error> bad(fmt::format_string<Args...> format,
                                             Args&&... args) const {
        return fail(Error::make(kind_, fmt::format(format, std::forward<Args>(args)...)));
    }

    Result<> check_files();
    Result<> check_file(const model::OpenFile& file);
    Result<> check_processes();
    Result<> check_locks() const;
    Result<> check_ipc();
    Result<> check_posix_queues();
    Result<> check_notifications() const;
    Result<> check_terminals() const;
    Result<> check_pidfds() const;
    Result<> check_in_flight() const;
    Result<> check_undo(const model::Process& process) const;
    Result<> check_process(const model::Process& process);
    Result<> check_threads(const model::Process& process);
    Result<> check_mappings(const model::Process& process) const;
    Result<> check_guards(const model::AddressSpace& space) const;
    Result<> check_descriptors(const model::Process& process) const;
    Result<> check_settings(const model::Process& process) const;
    [[nodiscard]] const model::RegularFile* regular(model::FileId id) const {
        const auto found = files_.find(id);
        return found == files_.end() ? nullptr
                                     : std::get_if<model::RegularFile>(&found->second->body);
    }

    [[nodiscard]] bool is_mappable(model::FileId id) const {
        const auto found = files_.find(id);
        return regular(id) != nullptr ||
               (found != files_.end() &&
                std::holds_alternative<model::MemoryFile>(found->second->body));
    }

    const model::Checkpoint& checkpoint_;
    const Error::Kind kind_;
    std::unordered_map<model::FileId, const model::OpenFile*> files_;
    std::unordered_set<std::uint32_t> pipes_, ghosts_, inodes_;
    std::unordered_map<pid_t, const model::Process*> pids_;
    std::unordered_map<std::uint64_t, std::uint64_t> segments_;  // their bytes, by id
    std::unordered_map<std::int32_t, std::size_t> semaphores_;   // how many are in each set
    std::unordered_set<std::uint64_t> posix_queues_;
    std::unordered_set<pid_t> tids_;
};

Result<> Validator::check_files() {
    for (const model::Pipe& pipe : checkpoint_.pipes) {
        if (!pipes_.insert(pipe.id).second) return bad("pipe {} is there twice", pipe.id);
    }
    for (const model::GhostFile& ghost : checkpoint_.ghosts) {
        if (!ghosts_.insert(ghost.id).second) return bad("ghost {} is there twice", ghost.id);
    }
    model::FileId last = 0;
    for (const model::OpenFile& file : checkpoint_.files) {
        if (file.id <= last) return bad("file {} is there twice, or out of order", file.id);
        last = file.id;
        files_.emplace(file.id, &file);
        TRY(check_file(file));
    }
    return {};
}

Result<> Validator::check_file(const model::OpenFile& file) {
    if (const auto* reg = std::get_if<model::RegularFile>(&file.body)) {
        const bool sane = !reg->path.empty() && reg->path.front() == '/' &&
                          reg->path.size() < kPathMax && reg->path.find('\0') == std::string::npos;
        if (!sane) return bad("file {} has no absolute path", file.id);
        if (reg->ghost != 0 && !ghosts_.contains(reg->ghost)) {
            return bad("file {} is of no ghost", file.id);
        }
    } else if (const auto* end = std::get_if<model::PipeEnd>(&file.body)) {
        if (!pipes_.contains(end->pipe_id)) return bad("file {} is of no pipe", file.id);
        if (end->ghost != 0 && !ghosts_.contains(end->ghost)) {
            return bad("file {} is of no ghost", file.id);
        }
    } else if (const auto* inet = std::get_if<model::InetSocket>(&file.body)) {
        if (!inodes_.insert(inet->inode).second) return bad("socket {} twice", inet->inode);
        // TCP_ESTABLISHED..TCP_CLOSING but for TCP_CLOSE and TCP_LISTEN: somebody is at the other
        // end.
        const bool has_peer =
            inet->protocol == IPPROTO_TCP && inet->state != 7 && inet->state != 10;
        if (has_peer && !inet->tcp) return bad("file {} lacks its TCP connection", file.id);
        if (inet->tcp && inet->tcp->unsent_bytes > inet->tcp->send_queue.size()) {
            return bad("file {} has more unsent than queued", file.id);
        }
    } else if (const auto* memory = std::get_if<model::MemoryFile>(&file.body)) {
        if (memory->inode == 0 || memory->bytes > limits::kMemfdBytesMax) {
            return bad("memfd {}", memory->name);
        }
    } else if (const auto* local = std::get_if<model::UnixSocket>(&file.body)) {
        if (!inodes_.insert(local->inode).second) return bad("socket {} twice", local->inode);
    }
    return {};
}

Result<> Validator::check_processes() {
    if (checkpoint_.processes.empty()) return bad("there is no process");
    if (checkpoint_.processes.size() > limits::kTasksMax) {
        return fail(Error::limit("too many processes"));
    }
    for (const model::Process& process : checkpoint_.processes) {
        TRY(with_context(check_process(process), fmt::format("process {}", process.pid)));
        pids_.emplace(process.pid.value, &process);
    }
    return {};
}

Result<> Validator::check_locks() const {
    for (const model::FileLock& lock : checkpoint_.locks) {
        const auto owner = pids_.find(lock.pid.value);
        if (owner == pids_.end())
            return bad("process {}, which has a lock, is not there", lock.pid);
        const auto& descriptors = owner->second->descriptors;
        if (std::ranges::find(descriptors, lock.fd, &model::Descriptor::fd) == descriptors.end()) {
            return bad("process {} has a lock on descriptor {}, which is closed", lock.pid,
                       lock.fd);
        }
    }
    return {};
}

Result<> Validator::check_ipc() {
    if (!checkpoint_.ipc) return {};
    for (const model::SemaphoreSet& set : checkpoint_.ipc->semaphores) {
        if (!semaphores_.emplace(set.object.id, set.values.size()).second) {
            return bad("semaphore set {} is there twice", set.object.id);
        }
    }
    for (const model::IpcSegment& segment : checkpoint_.ipc->segments) {
        const std::uint64_t bytes = page_align_up(segment.bytes);
        if (!segments_.emplace(segment.object.id, bytes).second) {
            return bad("segment {} is there twice", segment.object.id);
        }
    }
    std::unordered_set<std::int32_t> queues;
    for (const model::SystemVQueue& queue : checkpoint_.ipc->queues) {
        if (queues.insert(queue.object.id).second) continue;
        return bad("message queue {} is there twice", queue.object.id);
    }
    return {};
}

Result<> Validator::check_posix_queues() {
    constexpr std::size_t kNameMax = 255;
    std::unordered_set<std::string> names;
    const auto queues =
        checkpoint_.ipc ? checkpoint_.ipc->posix_queues : std::vector<model::PosixQueue>();
    for (const model::PosixQueue& queue : queues) {
        const std::string_view name = queue.name;
        const bool sane = name.size() > 1 && name.size() <= kNameMax + 1 && name.front() == '/' &&
                          name.find_first_of(std::string_view("/\0", 2), 1) == name.npos &&
                          queue.messages.size() <= queue.messages_max &&
                          (queue.notification ? queue.messages.empty() : true);
        if (!sane) return bad("message queue {} makes no sense", name);
        const bool is_new = posix_queues_.insert(queue.inode).second &&
                            (queue.unlinked || names.insert(queue.name).second);
        if (!is_new) return bad("message queue {} is there twice", name);
    }
    for (const auto& [id, file] : files_) {
        const auto* open = std::get_if<model::MessageQueueFile>(&file->body);
        if (open == nullptr || posix_queues_.contains(open->queue)) continue;
        return bad("file {} is of no message queue", id);
    }
    return {};
}

Result<> Validator::check_in_flight() const {
    constexpr std::size_t kRightsMax = 253;  // SCM_MAX_FD, unix(7)
    for (const auto& [id, file] : files_) {
        const auto* socket = std::get_if<model::UnixSocket>(&file->body);
        if (socket == nullptr) continue;
        for (const model::UnixMessage& message : socket->receive_queue) {
            if (message.rights.size() > kRightsMax) return bad("file {}: a message's files", id);
            const bool all_there = std::ranges::all_of(
                message.rights, [&](model::FileId sent) { return files_.contains(sent); });
            if (!all_there) return bad("what is in flight to file {} is not there", id);
        }
    }
    return {};
}

// Of a thread only by PIDFD_THREAD.
Result<> Validator::check_pidfds() const {
    for (const model::OpenFile& file : checkpoint_.files) {
        const auto* pidfd = std::get_if<model::PidFile>(&file.body);
        if (pidfd == nullptr || pidfd->task == 0 || pids_.contains(pidfd->task)) continue;
        const bool of_thread = (file.flags & O_EXCL) != 0;
        if (of_thread && tids_.contains(pidfd->task)) continue;
        return bad("file {} is a pidfd of {}, which is not in the tree", file.id, pidfd->task);
    }
    return {};
}

// Only who has the queue open can be told of its messages.
Result<> Validator::check_notifications() const {
    if (!checkpoint_.ipc) return {};
    for (const model::PosixQueue& queue : checkpoint_.ipc->posix_queues) {
        if (!queue.notification) continue;
        const auto owner = pids_.find(queue.notification->pid.value);
        const bool has_it_open =
            owner != pids_.end() &&
            std::ranges::any_of(owner->second->descriptors, [&](const model::Descriptor& one) {
                const auto* file = std::get_if<model::MessageQueueFile>(&files_.at(one.file)->body);
                return file != nullptr && file->queue == queue.inode;
            });
        if (!has_it_open) {
            return bad(
                "message queue {}: process {}, which is to be told of messages, does not "
                "have it open",
                queue.name, queue.notification->pid);
        }
    }
    return {};
}

// Each has its master open once at most, one that is given has none, and controls processes of one
// session, with its leader.
Result<> Validator::check_terminals() const {
    std::unordered_map<std::uint32_t, const model::Terminal*> terminals;
    for (const model::Terminal& terminal : checkpoint_.terminals) {
        if (!terminals.emplace(terminal.index, &terminal).second) {
            return bad("terminal {} is there twice", terminal.index);
        }
        const std::string& path = terminal.master_path;
        if (!terminal.is_given() && path != "/dev/ptmx" && path != "/dev/pts/ptmx") {
            return bad("terminal {} of \"{}\"", terminal.index, path);
        }
    }
    std::unordered_set<std::uint32_t> masters;
    for (const auto& [id, file] : files_) {
        const auto* end = std::get_if<model::TerminalFile>(&file->body);
        if (end == nullptr) continue;
        const auto pair = terminals.find(end->index);
        const bool is_good =
            pair != terminals.end() &&
            (!end->is_master || (!pair->second->is_given() && masters.insert(end->index).second));
        if (!is_good) {
            return bad("file {} is of no terminal, or of the master of one again", id);
        }
    }
    for (const auto& [pid, process] : pids_) {
        if (!process->terminal) continue;
        const auto terminal = terminals.find(*process->terminal);
        const pid_t session = process->session.value;
        if (terminal == terminals.end() || terminal->second->session != session ||
            !pids_.contains(session)) {
            return bad("process {} with the controlling terminal {}", pid, *process->terminal);
        }
    }
    return {};
}

Result<> Validator::check_undo(const model::Process& process) const {
    constexpr std::int32_t kMax = 32768;  // semop(2): what a semaphore can have, and one more
    for (const model::SemaphoreUndo& undo : process.semaphore_undo) {
        const auto set = semaphores_.find(undo.set);
        if (set == semaphores_.end() || undo.number >= set->second) {
            return bad("it owes something to semaphore {} of set {}", undo.number, undo.set);
        }
        if (undo.adjustment == 0 || std::abs(undo.adjustment) > kMax) {
            return bad("it owes {} to a semaphore", undo.adjustment);
        }
    }
    return {};
}

Result<> Validator::check_process(const model::Process& process) {
    const bool is_root = &process == &checkpoint_.processes.front();
    const pid_t pid = process.pid.value;
    if (pid <= 0 || static_cast<std::uint32_t>(pid) >= limits::kTasksMax) return bad("no pid");
    if (pids_.contains(pid) || tids_.contains(pid)) return bad("the pid is there twice");
    if (is_root) {
        if (process.parent.value != 0) return bad("the root has a parent");
        if (process.is_zombie) return bad("the root is a zombie");
    } else {
        const auto parent = pids_.find(process.parent.value);
        if (parent == pids_.end()) return bad("its parent {} is not before it", process.parent);
        if (parent->second->is_zombie) return bad("its parent is a zombie");
    }
    if (process.group.value < 0 || process.session.value < 0) return bad("no process group");
    if (process.is_zombie) {
        if (!process.threads.empty()) return bad("a zombie with threads");
        return {};
    }
    TRY(check_threads(process));
    TRY(check_mappings(process));
    TRY(check_descriptors(process));
    TRY(check_undo(process));
    return check_settings(process);
}

Result<> Validator::check_threads(const model::Process& process) {
    if (process.threads.empty()) return bad("no threads");
    if (process.leader().tid != leader_of(process.pid)) return bad("the leader is not first");
    for (const model::Thread& thread : process.threads) {
        const pid_t tid = thread.tid.value;
        if (tid <= 0 || static_cast<std::uint32_t>(tid) >= limits::kTasksMax) return bad("no tid");
        if (!tids_.insert(tid).second || pids_.contains(tid)) {
            return bad("thread {} is there twice", tid);
        }
        if (tids_.size() > limits::kTasksMax) return fail(Error::limit("too many threads"));
        if (thread.scheduling.affinity.size() > kAffinityBytesMax) return bad("a cpu mask");
    }
    return {};
}

Result<> Validator::check_guards(const model::AddressSpace& space) const {
    if (space.guards.size() > limits::kVmasMax) return fail(Error::limit("too many guard pages"));
    RemoteAddr last;
    for (const AddrRange& guard : space.guards) {
        const bool aligned = (guard.start.value | guard.end.value) % kPageSize == 0;
        if (guard.empty() || !aligned || guard.start < last) {
            return bad("guard pages {} overlap, or are not aligned", guard);
        }
        last = guard.end;
    }
    return {};
}

Result<> Validator::check_mappings(const model::Process& process) const {
    TRY(check_guards(process.address_space));
    if (process.address_space.vmas.size() > limits::kVmasMax) {
        return fail(Error::limit("too many mappings"));
    }
    RemoteAddr last;
    for (const model::Vma& vma : process.address_space.vmas) {
        const bool aligned = vma.range.start.value % kPageSize == 0 &&
                             vma.range.end.value % kPageSize == 0 &&
                             vma.file_offset % kPageSize == 0;
        if (vma.range.empty() || !aligned || vma.range.start < last) {
            return bad("mapping {} overlaps, or is not aligned", vma.range);
        }
        last = vma.range.end;
        const bool of_file = vma.kind == VmaKind::FilePrivate || vma.kind == VmaKind::FileShared;
        if (of_file != (vma.file != 0) || (of_file && !is_mappable(vma.file))) {
            return bad("mapping {} is of no file", vma.range);
        }
        if (!model::is_segment(vma.shared_id)) continue;
        const auto segment = segments_.find(vma.shared_id & ~model::kSegmentIds);
        if (segment == segments_.end() || vma.file_offset > segment->second ||
            vma.range.size() > segment->second - vma.file_offset) {
            return bad("mapping {} is of no segment", vma.range);
        }
    }
    for (const model::AioRing& ring : process.aio_rings) {
        const bool is_mapped =
            std::ranges::any_of(process.address_space.vmas, [&](const model::Vma& vma) {
                return vma.kind == VmaKind::AioRing && vma.range.start.value == ring.address &&
                       vma.range.size() == ring.content.size();
            });
        if (!is_mapped) return bad("the aio ring {:#x} is not mapped", ring.address);
    }
    if (regular(process.address_space.exe_file) == nullptr) return bad("no executable file");
    return {};
}

Result<> Validator::check_descriptors(const model::Process& process) const {
    int last = -1;
    for (const model::Descriptor& descriptor : process.descriptors) {
        if (descriptor.fd <= last) return bad("descriptor {} twice", descriptor.fd);
        last = descriptor.fd;
        if (static_cast<std::uint32_t>(last) >= limits::kFilesMax) return bad("fd {}", last);
        if (!files_.contains(descriptor.file)) {
            return bad("descriptor {} is of no file ({})", descriptor.fd, descriptor.file);
        }
    }
    if (regular(process.working_directory) == nullptr) return bad("no working directory");
    if (regular(process.root_directory) == nullptr) return bad("no root directory");
    return {};
}

Result<> Validator::check_settings(const model::Process& process) const {
    constexpr std::array kStops = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    if (process.stop && std::ranges::find(kStops, process.stop->signal) == kStops.end()) {
        return bad("a process stopped by signal {}", process.stop->signal);
    }
    if (process.umask > 07777) return bad("umask {:o}", process.umask);
    if (process.address_space.dumpable < 0 || process.address_space.dumpable > 2) {
        return bad("dumpable {}", process.address_space.dumpable);
    }
    for (const model::ResourceLimit& limit : process.limits) {
        if (limit.soft > limit.hard) return bad("limit {} above {}", limit.soft, limit.hard);
    }
    for (const model::ControlGroup& group : process.cgroups) {
        // The path is opened below the cgroup mounts; ".." would lead out of them.
        const std::string path = group.path + "/";
        if (path.front() != '/' || path.size() > kPathMax ||
            path.find("/../") != std::string::npos || path.find('\0') != std::string::npos) {
            return bad("control group \"{}\"", group.path);
        }
    }
    return {};
}

}  // namespace

Result<> validate(const model::Checkpoint& checkpoint, Error::Kind kind) {
    return Validator(checkpoint, kind).run();
}

}  // namespace ferry::image
