#include "image/codec.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/limits.h"
#include "image/files_codec.h"
#include "image/inventory_codec.h"
#include "image/ipc_codec.h"
#include "image/locks_codec.h"
#include "image/memory_codec.h"
#include "image/process_codec.h"
#include "image/proto/inventory.pb.h"
#include "image/records.h"
#include "image/seccomp_codec.h"
#include "image/terminal_codec.h"
#include "image/validate.h"

namespace ferry::image {

namespace {

constexpr const char* kTreeName = "pstree.img";
// The first number for the kernel objects of the tree; 1 is the dumper's.
constexpr std::uint32_t kFirstIds = 2;
constexpr std::size_t kCpuMaskMax = 1024;

std::string core_name(pid_t tid) {
    return fmt::format("core-{}.img", tid);
}
std::string ids_name(Pid pid) {
    return fmt::format("ids-{}.img", pid);
}
std::string mm_name(Pid pid) {
    return fmt::format("mm-{}.img", pid);
}
std::string fs_name(Pid pid) {
    return fmt::format("fs-{}.img", pid);
}

void thread_to_extra(const model::Thread& thread, wire::FerryThread& into) {
    const model::Scheduling& scheduling = thread.scheduling;
    into.set_tid(thread.tid.value);
    into.set_affinity(scheduling.affinity.data(), scheduling.affinity.size());
    into.set_io_priority(scheduling.io_priority);
    into.set_timer_slack_ns(scheduling.timer_slack_ns);
}

Result<> thread_from_extra(const wire::FerryThread& from, model::Thread& into) {
    model::Scheduling& scheduling = into.scheduling;
    constexpr int kIoPriorityMax = UINT16_MAX;
    if (from.affinity().size() > kCpuMaskMax || from.io_priority() < 0 ||
        from.io_priority() > kIoPriorityMax) {
        return fail(Error::corrupt(fmt::format("ferry.json: thread {}", from.tid())));
    }
    scheduling.affinity.assign(from.affinity().begin(), from.affinity().end());
    scheduling.io_priority = from.io_priority();
    scheduling.timer_slack_ns = from.timer_slack_ns();
    return {};
}

class Encoder {
  public:
    Encoder(const model::Checkpoint& checkpoint, ImageStore& into)
        : checkpoint_(checkpoint), into_(into) {}
    Result<> run();

  private:
    Result<> put_tree();
    Result<> put_process(const model::Process& process, std::uint32_t ids);
    Result<> put_memory(const model::Process& process, wire::FerryProcess& extra);

    const model::Checkpoint& checkpoint_;
    ImageStore& into_;
    wire::FerryCheckpoint extra_;
    CgroupSets cgroups_;
    SeccompTable seccomp_;
    std::map<model::FileId, FileType> types_;
    std::map<model::FileId, std::uint32_t> flags_;
};

void namespaces_to_extra(const model::NamespaceIds& ids, wire::FerryNamespaces& into) {
    into.set_mnt(ids.mnt);
    into.set_net(ids.net);
    into.set_pid(ids.pid);
    into.set_uts(ids.uts);
    into.set_ipc(ids.ipc);
    into.set_user(ids.user);
    into.set_cgroup(ids.cgroup);
    into.set_time(ids.time);
}

model::NamespaceIds namespaces_from_extra(const wire::FerryNamespaces& from) {
    return {.mnt = from.mnt(),
            .net = from.net(),
            .pid = from.pid(),
            .uts = from.uts(),
            .ipc = from.ipc(),
            .user = from.user(),
            .cgroup = from.cgroup(),
            .time = from.time()};
}

Result<> Encoder::run() {
    TRY(validate(checkpoint_, Error::Kind::Invalid));
    for (const model::OpenFile& file : checkpoint_.files) {
        types_.emplace(file.id, type_of(file));
        flags_.emplace(file.id, file.flags);
    }
    extra_.set_vdso_hash(checkpoint_.vdso_hash);
    extra_.set_boot_id(checkpoint_.boot_id);
    extra_.set_monotonic_offset_ns(checkpoint_.clocks.offsets.monotonic_ns);
    extra_.set_boottime_offset_ns(checkpoint_.clocks.offsets.boottime_ns);
    extra_.set_kernel_release(checkpoint_.kernel_release);
    TRY(put_inventory(checkpoint_, into_));
    TRY(put_tree());
    std::uint32_t ids = kFirstIds;
    for (const model::Process& process : checkpoint_.processes) {
        TRY(with_context(put_process(process, ids++), fmt::format("process {}", process.pid)));
    }
    TRY(put_files(checkpoint_, into_, extra_));
    TRY(put_terminals(checkpoint_, into_, extra_));
    TRY(put_locks(checkpoint_, into_));
    TRY(put_ipc(checkpoint_, into_, extra_));
    TRY(cgroups_.put(into_));
    TRY(seccomp_.put(into_));
    TRY(put_clocks(checkpoint_, into_));
    return put_extra(extra_, into_);
}

Result<> Encoder::put_tree() {
    RecordWriter writer(Magic::Pstree);
    for (const model::Process& process : checkpoint_.processes) {
        wire::PstreeEntry entry;
        entry.set_pid(static_cast<std::uint32_t>(process.pid.value));
        entry.set_ppid(static_cast<std::uint32_t>(process.parent.value));
        entry.set_pgid(static_cast<std::uint32_t>(process.group.value));
        entry.set_sid(static_cast<std::uint32_t>(process.session.value));
        for (const model::Thread& thread : process.threads) {
            entry.add_threads(static_cast<std::uint32_t>(thread.tid.value));
        }
        if (process.is_zombie) entry.add_threads(static_cast<std::uint32_t>(process.pid.value));
        TRY(writer.add(entry));
    }
    return into_.put(kTreeName, writer.bytes());
}

Result<> Encoder::put_process(const model::Process& process, std::uint32_t ids) {
    if (process.is_zombie) {
        wire::CoreEntry core;
        zombie_to_wire(process, core);
        return put_one(into_, core_name(process.pid.value), Magic::Core, core);
    }
    const std::uint32_t cgroup_set = cgroups_.number_of(process.cgroups);
    const std::optional<std::uint32_t> filter = seccomp_.number_of(process.seccomp);
    wire::FerryProcess& extra = *extra_.add_processes();
    extra.set_pid(process.pid.value);
    namespaces_to_extra(process.namespaces, *extra.mutable_namespaces());
    for (const model::Thread& thread : process.threads) {
        wire::CoreEntry core;
        TRY(with_context(core_to_wire(process, thread, cgroup_set, core),
                         fmt::format("thread {}", thread.tid)));
        if (filter) {
            core.mutable_thread_core()->set_seccomp_mode(SECCOMP_MODE_FILTER);
            core.mutable_thread_core()->set_seccomp_filter(*filter);
        }
        TRY(put_one(into_, core_name(thread.tid.value), Magic::Core, core));
        thread_to_extra(thread, *extra.add_threads());
    }
    if (process.core_filter) extra.set_core_filter(*process.core_filter);
    for (const model::SemaphoreUndo& undo : process.semaphore_undo) {
        wire::FerrySemaphoreUndo& into = *extra.add_semaphore_undo();
        into.set_set(undo.set);
        into.set_number(undo.number);
        into.set_adjustment(undo.adjustment);
    }
    if (process.stop) {
        extra.set_stop_signal(static_cast<std::uint32_t>(process.stop->signal));
        extra.set_stop_noticed(process.stop->noticed);
    }
    for (const model::AioRing& ring : process.aio_rings) {
        wire::FerryAioRing& entry = *extra.add_aio_rings();
        entry.set_address(ring.address);
        entry.set_content(ring.content.data(), ring.content.size());
    }
    wire::KobjIds own;
    ids_to_wire(ids, own);
    if (checkpoint_.clocks.own_namespace) own.set_time_ns_id(kOwnTimeNamespace);
    TRY(put_one(into_, ids_name(process.pid), Magic::Ids, own));
    TRY(put_memory(process, extra));
    wire::FsEntry fs;
    fs.set_cwd_id(process.working_directory);
    fs.set_root_id(process.root_directory);
    fs.set_umask(process.umask);
    TRY(put_one(into_, fs_name(process.pid), Magic::Fs, fs));
    return put_descriptors(process, types_, ids, into_);
}

Result<> Encoder::put_memory(const model::Process& process, wire::FerryProcess& extra) {
    wire::MmEntry mm;
    const auto files = [this](model::FileId id) {
        return MappedFile{.flags = flags_.at(id), .is_memfd = types_.at(id) == FileType::MemFd};
    };
    TRY(mm_to_wire(process.address_space, files, mm, extra));
    return put_one(into_, mm_name(process.pid), Magic::Mm, mm);
}

// Says which kernel objects two processes of the image share, if any.
Result<> check_ids(const wire::KobjIds& ids, const wire::KobjIds& dumper) {
    struct Namespace {
        const char* name;
        std::uint32_t own, dumpers;
    };
    const Namespace namespaces[] = {
        {"pid", ids.pid_ns_id(), dumper.pid_ns_id()},
        {"network", ids.net_ns_id(), dumper.net_ns_id()},
        {"IPC", ids.ipc_ns_id(), dumper.ipc_ns_id()},
        {"UTS", ids.uts_ns_id(), dumper.uts_ns_id()},
        {"mount", ids.mnt_ns_id(), dumper.mnt_ns_id()},
        {"user", ids.user_ns_id(), dumper.user_ns_id()},
        {"cgroup", ids.cgroup_ns_id(), dumper.cgroup_ns_id()},
    };
    for (const Namespace& ns : namespaces) {
        if (ns.own != ns.dumpers) {
            return fail(Error::unsupported(fmt::format("a {} namespace of its own", ns.name)));
        }
    }
    return {};
}

class Decoder {
  public:
    explicit Decoder(const ImageStore& from) : from_(from) {}
    Result<model::Checkpoint> run();

  private:
    Result<> get_tree();
    Result<> split_mapped_files();
    Result<> get_process(model::Process& process, const std::vector<std::uint32_t>& threads);
    Result<> get_threads(model::Process& process, const std::vector<std::uint32_t>& threads);
    Result<std::uint32_t> get_ids(Pid pid);
    const wire::FerryProcess& extra_of(Pid pid) const {
        const auto found = extra_processes_.find(pid.value);
        return found == extra_processes_.end() ? nothing_ : found->second;
    }

    const ImageStore& from_;
    model::Checkpoint checkpoint_;
    std::vector<std::vector<std::uint32_t>> threads_;  // parallel to checkpoint_.processes
    wire::KobjIds dumper_;
    std::uint32_t time_namespace_ = 0;
    std::set<std::uint32_t> seen_vm_, seen_files_, seen_fs_, seen_handlers_;
    std::map<std::uint32_t, std::vector<model::ControlGroup>> cgroups_;
    SeccompTable seccomp_;
    std::map<std::int32_t, wire::FerryProcess> extra_processes_;
    // How each mapping has its file open, by process and address.
    std::map<std::pair<std::int32_t, std::uint64_t>, std::uint32_t> mapped_flags_;
    const wire::FerryProcess nothing_;
};

Result<model::Checkpoint> Decoder::run() {
    dumper_ = TRY(get_inventory(from_));
    const wire::FerryCheckpoint extra = TRY(get_extra(from_));
    FerryFiles extra_files;
    for (const wire::FerryFile& file : extra.files()) extra_files[file.id()] = file;
    for (const wire::FerryProcess& process : extra.processes()) {
        extra_processes_[process.pid()] = process;
    }
    checkpoint_.vdso_hash = extra.vdso_hash();
    checkpoint_.boot_id = extra.boot_id();
    checkpoint_.clocks.offsets = {.monotonic_ns = extra.monotonic_offset_ns(),
                                  .boottime_ns = extra.boottime_offset_ns()};
    checkpoint_.kernel_release = extra.kernel_release();
    cgroups_ = TRY(get_cgroups(from_));
    seccomp_ = TRY(SeccompTable::get(from_));
    TRY(get_tree());
    for (std::size_t i = 0; i < checkpoint_.processes.size(); ++i) {
        model::Process& process = checkpoint_.processes[i];
        TRY(with_context(get_process(process, threads_[i]),
                         fmt::format("process {}", process.pid)));
    }
    TerminalRecords terminals = TRY(TerminalRecords::get(from_, extra));
    TRY(get_files(from_, extra_files, terminals, checkpoint_));
    TRY(terminals.finish(extra, checkpoint_));
    TRY(get_locks(from_, checkpoint_));
    TRY(split_mapped_files());
    TRY(get_ipc(from_, extra, checkpoint_));
    TRY(validate(checkpoint_, Error::Kind::Corrupt));
    return std::move(checkpoint_);
}

// CRIU has one record for a file that is mapped in several ways; we have one for each way.
Result<> Decoder::split_mapped_files() {
    std::map<std::pair<model::FileId, std::uint32_t>, model::FileId> made;
    for (model::Process& process : checkpoint_.processes) {
        for (model::Vma& vma : process.address_space.vmas) {
            const auto flags = mapped_flags_.find({process.pid.value, vma.range.start.value});
            const model::OpenFile* file = checkpoint_.find_file(vma.file);
            if (flags == mapped_flags_.end() || file == nullptr) continue;
            const std::uint32_t access = flags->second & O_ACCMODE;
            if ((file->flags & O_ACCMODE) == access) continue;
            const model::FileId last = checkpoint_.files.back().id;
            const auto [at, is_new] = made.try_emplace({vma.file, access}, last + 1);
            if (is_new && last == UINT32_MAX) return fail(Error::corrupt("a file's id"));
            if (is_new) {
                model::OpenFile copy = *file;
                copy.id = at->second;
                copy.flags = flags->second;
                checkpoint_.files.push_back(std::move(copy));
            }
            vma.file = at->second;
        }
    }
    return {};
}

Result<> Decoder::get_tree() {
    const std::optional<model::Bytes> bytes = TRY(from_.get(kTreeName));
    if (!bytes) return fail(Error::corrupt(std::string("there is no ") + kTreeName));
    RecordReader reader = TRY(RecordReader::open(kTreeName, *bytes, Magic::Pstree));
    std::size_t tasks = 0;
    while (!reader.at_end()) {
        wire::PstreeEntry entry;
        TRY(reader.next(entry));
        tasks += static_cast<std::size_t>(entry.threads_size()) + 1;
        if (tasks > 2 * std::size_t{limits::kTasksMax}) return fail(Error::limit("too many tasks"));
        for (const std::uint32_t id : {entry.pid(), entry.ppid(), entry.pgid(), entry.sid()}) {
            if (id > limits::kTasksMax) {
                return fail(Error::corrupt(fmt::format("{}: a task id of {}", kTreeName, id)));
            }
        }
        model::Process process;
        process.pid = {static_cast<pid_t>(entry.pid())};
        process.parent = {static_cast<pid_t>(entry.ppid())};
        process.group = {static_cast<pid_t>(entry.pgid())};
        process.session = {static_cast<pid_t>(entry.sid())};
        checkpoint_.processes.push_back(std::move(process));
        threads_.emplace_back(entry.threads().begin(), entry.threads().end());
    }
    return {};
}

Result<std::uint32_t> Decoder::get_ids(Pid pid) {
    wire::KobjIds ids;
    TRY(get_required(from_, ids_name(pid), Magic::Ids, ids));
    TRY(check_ids(ids, dumper_));
    // All are in the root's time namespace.
    const bool own_time = ids.time_ns_id() != dumper_.time_ns_id();
    const bool is_root = seen_vm_.empty();
    if (is_root) {
        checkpoint_.clocks.own_namespace = own_time;
        time_namespace_ = ids.time_ns_id();
        TRY(get_clocks(from_, own_time ? ids.time_ns_id() : 0, checkpoint_));
    }
    if (ids.time_ns_id() != time_namespace_) {
        return fail(Error::unsupported("several time namespaces"));
    }
    if (!seen_vm_.insert(ids.vm_id()).second) {
        return fail(Error::unsupported("memory shared by two processes (CLONE_VM)"));
    }
    if (!seen_files_.insert(ids.files_id()).second) {
        return fail(Error::unsupported("descriptors shared by two processes (CLONE_FILES)"));
    }
    if (!seen_fs_.insert(ids.fs_id()).second) {
        return fail(Error::unsupported("a directory shared by two processes (CLONE_FS)"));
    }
    if (!seen_handlers_.insert(ids.sighand_id()).second) {
        return fail(Error::unsupported("signal handlers shared by two processes (CLONE_SIGHAND)"));
    }
    return ids.files_id();
}

Result<> Decoder::get_process(model::Process& process, const std::vector<std::uint32_t>& threads) {
    wire::CoreEntry core;
    TRY(get_required(from_, core_name(process.pid.value), Magic::Core, core));
    TRY(process_from_wire(core, process));
    if (process.is_zombie) return {};
    TRY(get_threads(process, threads));
    const auto cgroups = cgroups_.find(cgroup_set_of(core));
    if (cgroups != cgroups_.end()) process.cgroups = cgroups->second;
    const wire::FerryProcess& extra = extra_of(process.pid);
    process.namespaces = namespaces_from_extra(extra.namespaces());
    if (extra.has_core_filter()) process.core_filter = extra.core_filter();
    for (const wire::FerrySemaphoreUndo& undo : extra.semaphore_undo()) {
        process.semaphore_undo.push_back(
            {.set = undo.set(), .number = undo.number(), .adjustment = undo.adjustment()});
    }
    if (process.stop && extra.stop_signal() != 0) {
        process.stop = {.signal = static_cast<int>(extra.stop_signal()),
                        .noticed = extra.stop_noticed()};
    }
    for (const wire::FerryAioRing& ring : extra.aio_rings()) {
        const auto content = std::as_bytes(std::span(ring.content()));
        process.aio_rings.push_back(
            {.address = ring.address(), .content = {content.begin(), content.end()}});
    }

    const std::uint32_t files = TRY(get_ids(process.pid));
    process.descriptors = TRY(get_descriptors(from_, files));
    wire::MmEntry mm;
    TRY(get_required(from_, mm_name(process.pid), Magic::Mm, mm));
    process.address_space = TRY(mm_from_wire(mm, extra));
    for (const wire::VmaEntry& vma : mm.vmas()) {
        if (vma.has_fdflags()) mapped_flags_[{process.pid.value, vma.start()}] = vma.fdflags();
    }
    wire::FsEntry fs;
    TRY(get_required(from_, fs_name(process.pid), Magic::Fs, fs));
    process.working_directory = fs.cwd_id();
    process.root_directory = fs.root_id();
    if (fs.has_umask()) process.umask = fs.umask();
    return {};
}

Result<> Decoder::get_threads(model::Process& process, const std::vector<std::uint32_t>& threads) {
    std::map<std::int32_t, const wire::FerryThread*> extras;
    for (const wire::FerryThread& thread : extra_of(process.pid).threads()) {
        extras[thread.tid()] = &thread;
    }
    bool leader_synchronizes = false;
    for (const std::uint32_t tid : threads) {
        if (tid == 0 || tid > limits::kTasksMax) return fail(Error::corrupt("a thread's id"));
        model::Thread thread;
        thread.tid = {static_cast<pid_t>(tid)};
        wire::CoreEntry core;
        TRY(get_required(from_, core_name(thread.tid.value), Magic::Core, core));
        TRY(with_context(thread_from_wire(core, thread), fmt::format("thread {}", tid)));
        const bool says_none = !core.thread_core().has_seccomp_mode();
        auto filters = TRY(seccomp_.filters_of(core.thread_core()));
        if (process.threads.empty()) {
            leader_synchronizes = filters.synchronize;
            process.seccomp = std::move(filters.chain);
        } else if (says_none && leader_synchronizes) {
            // It has what the leader has.
        } else if (filters.chain != process.seccomp) {
            return fail(Error::unsupported("threads with different seccomp filters"));
        }
        const auto more = extras.find(thread.tid.value);
        if (more != extras.end()) TRY(thread_from_extra(*more->second, thread));
        process.threads.push_back(std::move(thread));
    }
    return {};
}

}  // namespace

Result<> encode(const model::Checkpoint& checkpoint, ImageStore& into) {
    return with_context(Encoder(checkpoint, into).run(), "writing image files");
}

Result<> encode_inventory(const model::Checkpoint& checkpoint, ImageStore& into) {
    return put_inventory(checkpoint, into);
}

Result<model::Checkpoint> decode(const ImageStore& from) {
    return with_context(Decoder(from).run(), "reading image files");
}

}  // namespace ferry::image
