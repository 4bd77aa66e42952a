#include "snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "arch/signal_frame.h"
#include "base/check.h"
#include "os/memory.h"
#include "proc/process_directory.h"
#include "proc/vdso.h"
#include "resources/thread_state.h"
#include "trace/freeze.h"
#include "trace/remote_calls.h"

namespace ferry::live {
namespace {

constexpr std::chrono::seconds kTimeout{10};
constexpr std::uint64_t kPagePresent = 1ULL << 63, kPageSwapped = 1ULL << 62,
                        kPageFile = 1ULL << 61;

class Reader {
  public:
    Result<Snapshot> read(trace::Freeze& freeze) {
        snapshot_.checkpoint.vdso_hash = TRY(proc::vdso_hash());
        for (trace::FrozenProcess& process : freeze.processes()) TRY(read_process(process));
        return std::move(snapshot_);
    }

  private:
    Result<> read_process(trace::FrozenProcess& frozen) {
        model::Process process;
        const proc::Stat stat = TRY(frozen.directory.stat());
        process.pid = frozen.pid;
        process.parent = frozen.parent;
        process.group = stat.group;
        process.session = stat.session;
        process.is_zombie = frozen.is_zombie;
        process.exit_status = stat.exit_code;
        if (!frozen.is_zombie) {
            TRY(read_threads(frozen, process));
            TRY(read_memory(frozen, stat, process));
            TRY(read_files(frozen, process));
            TRY(read_limits(frozen, process));
            TRY(ask(frozen, process));
        }
        snapshot_.checkpoint.processes.push_back(std::move(process));
        return {};
    }

    static Result<> read_threads(trace::FrozenProcess& frozen, model::Process& process) {
        for (trace::Tracee& tracee : frozen.threads) {
            model::Thread thread;
            thread.tid = tracee.tid();
            thread.registers = TRY(trace::registers_to_start_with(tracee));
            thread.xstate = TRY(tracee.xstate());
            thread.signal_mask = TRY(tracee.signal_mask());
            const os::RseqConfiguration rseq = TRY(tracee.rseq());
            thread.rseq = {.address = rseq.address, .size = rseq.size, .signature = rseq.signature};
            for (auto& info : TRY(tracee.pending_signals(os::SignalQueue::Thread))) {
                thread.pending.push_back(info);
            }
            const auto directory =
                TRY(proc::ProcessDirectory::open_thread(frozen.pid, tracee.tid()));
            thread.comm = TRY(directory.comm());
            const proc::Status status = TRY(directory.status());
            thread.credentials = resources::credentials_of(status);
            process.umask = status.umask;
            process.threads.push_back(std::move(thread));
        }
        for (auto& info : TRY(frozen.threads.front().pending_signals(os::SignalQueue::Process))) {
            process.pending.push_back(info);
        }
        return {};
    }

    model::FileId add_path(const std::string& path) {
        const auto id = static_cast<model::FileId>(snapshot_.checkpoint.files.size() + 1);
        model::RegularFile file;
        file.path = path;
        model::OpenFile open_file;
        open_file.id = id;
        open_file.flags = O_RDONLY;
        open_file.body = std::move(file);
        snapshot_.checkpoint.files.push_back(std::move(open_file));
        return id;
    }

    Result<> read_memory(trace::FrozenProcess& frozen, const proc::Stat& stat,
                         model::Process& process) {
        model::AddressSpace& space = process.address_space;
        for (const proc::MapsEntry& entry : TRY(frozen.directory.maps())) {
            model::Vma vma;
            vma.range = entry.range;
            vma.protection = entry.protection;
            if (entry.path == "[vdso]") vma.kind = model::VmaKind::Vdso;
            if (entry.path.starts_with("[vvar")) vma.kind = model::VmaKind::Vvar;
            if (entry.path == "[vsyscall]") vma.kind = model::VmaKind::Vsyscall;
            vma.grows_down = entry.path == "[stack]";
            if (entry.has_file()) {
                vma.kind = entry.shared ? model::VmaKind::FileShared : model::VmaKind::FilePrivate;
                vma.file = add_path(entry.path);
                vma.file_offset = entry.offset;
            }
            if (vma.carries_private_pages()) TRY(read_pages(frozen, vma));
            space.vmas.push_back(std::move(vma));
        }
        space.layout = {.start_code = stat.start_code,
                        .end_code = stat.end_code,
                        .start_data = stat.start_data,
                        .end_data = stat.end_data,
                        .start_brk = stat.start_brk,
                        .brk = stat.start_brk,
                        .start_stack = stat.start_stack,
                        .arg_start = stat.arg_start,
                        .arg_end = stat.arg_end,
                        .env_start = stat.env_start,
                        .env_end = stat.env_end,
                        .auxv = TRY(frozen.directory.auxv())};
        const auto keep = [&](const char* link) -> Result<model::FileId> {
            const std::string path = TRY(frozen.directory.link(link));
            const model::FileId id = add_path(path);
            snapshot_.files[id] = TRY(os::open(path, O_PATH));
            return id;
        };
        space.exe_file = TRY(keep("exe"));
        snapshot_.files[space.exe_file] =
            TRY(os::open(TRY(frozen.directory.link("exe")), O_RDONLY));
        process.working_directory = TRY(keep("cwd"));
        process.root_directory = TRY(keep("root"));
        return {};
    }

    Result<> read_pages(trace::FrozenProcess& frozen, const model::Vma& vma) {
        const auto pagemap = TRY(os::openat(frozen.directory.get(), "pagemap", O_RDONLY));
        const auto memory = TRY(os::openat(frozen.directory.get(), "mem", O_RDONLY));
        std::vector<std::uint64_t> entries(vma.range.pages());
        TRY(os::pread_all(pagemap.get(), std::as_writable_bytes(std::span(entries)),
                          vma.range.start.value / kPageSize * 8));
        auto& contents = snapshot_.pages[frozen.pid.value];
        const auto carried = [&](std::size_t i) {
            return (entries[i] & (kPagePresent | kPageSwapped)) != 0 &&
                   (entries[i] & kPageFile) == 0;
        };
        for (std::size_t i = 0; i < entries.size(); ++i) {
            if (!carried(i)) continue;
            std::size_t end = i + 1;
            while (end < entries.size() && carried(end)) ++end;
            const AddrRange range{vma.range.start + i * kPageSize,
                                  vma.range.start + end * kPageSize};
            std::vector<std::byte> bytes(range.size());
            TRY(os::pread_all(memory.get(), bytes, range.start.value));
            contents.push_back({.range = range, .bytes = std::move(bytes)});
            i = end;
        }
        return {};
    }

    Result<> read_files(trace::FrozenProcess& frozen, model::Process& process) {
        for (const std::string& name : TRY(os::list_directory(frozen.directory.get(), "fd"))) {
            const int fd = std::stoi(name);
            const model::FileId id = add_path("descriptor");
            snapshot_.files[id] = TRY(frozen.pidfd.getfd(fd));
            const std::string info = TRY(frozen.directory.text("fdinfo/" + name));
            const auto flags = std::stoul(std::string(proc::find_field(info, "flags")), nullptr, 8);
            process.descriptors.push_back(
                {.fd = fd, .file = id, .close_on_exec = (flags & O_CLOEXEC) != 0});
        }
        std::ranges::sort(process.descriptors, {}, &model::Descriptor::fd);
        return {};
    }

    static Result<> read_limits(trace::FrozenProcess& frozen, model::Process& process) {
        const auto limits = TRY(frozen.directory.limits());
        for (std::size_t i = 0; i < process.limits.size(); ++i) {
            process.limits[i] = {.soft = limits.at(i).soft, .hard = limits.at(i).hard};
        }
        return {};
    }

    // What only the task itself can tell.
    static Result<> ask(trace::FrozenProcess& frozen, model::Process& process) {
        const arch::Gadgets gadgets = TRY(trace::find_gadgets(frozen.pid));
        for (std::size_t i = 0; i < frozen.threads.size(); ++i) {
            auto calls = TRY(trace::RemoteCalls::borrow(frozen.threads[i], gadgets));
            const std::uint64_t scratch = calls.scratch().value;
            if (i == 0) {
                for (int signal = 1; signal <= model::kSignals; ++signal) {
                    if (signal == SIGKILL || signal == SIGSTOP) continue;
                    TRY(calls.call(SYS_rt_sigaction,
                                   {static_cast<std::uint64_t>(signal), 0, scratch, 8}));
                    process.actions[static_cast<std::size_t>(signal - 1)] =
                        TRY(calls.read_scratch<model::SignalAction>());
                }
                process.address_space.layout.brk =
                    static_cast<std::uint64_t>(TRY(calls.call(SYS_brk, {0})));
            }
            TRY(calls.call(SYS_sigaltstack, {0, scratch}));
            const auto stack = TRY(calls.read_scratch<stack_t>());
            process.threads[i].alternate_stack = {
                .address = reinterpret_cast<std::uint64_t>(stack.ss_sp),
                .size = stack.ss_size,
                .flags = static_cast<std::uint32_t>(stack.ss_flags)};
            process.threads[i].credentials.secure_bits =
                static_cast<std::uint32_t>(TRY(calls.call(SYS_prctl, {PR_GET_SECUREBITS})));
            TRY(calls.call(SYS_prctl, {PR_GET_TID_ADDRESS, scratch}));
            process.threads[i].clear_child_tid = TRY(calls.read_scratch<std::uint64_t>());
            TRY(calls.call(SYS_get_robust_list, {0, scratch, scratch + 8}));
            process.threads[i].robust_list = TRY(calls.read_scratch<std::uint64_t>());
            process.threads[i].robust_list_size =
                static_cast<std::uint32_t>(TRY(calls.read_scratch<std::uint64_t>(8)));
            TRY(std::move(calls).give_back());
        }
        return {};
    }

    Snapshot snapshot_;
};

}  // namespace

restore::FileLookup Snapshot::lookup() const {
    return [this](model::FileId id) {
        const auto found = files.find(id);
        return found == files.end() ? -1 : found->second.get();
    };
}

Result<Snapshot> take_snapshot(Pid root) {
    auto freeze = TRY(trace::Freeze::stop(root));
    Snapshot snapshot = TRY(Reader().read(freeze));
    TRY(std::move(freeze).kill());
    ::waitpid(root.value, nullptr, 0);
    return snapshot;
}

// A file, not a pipe: a pipe's other end would be outside the tree.
Result<Victim> Victim::start(const std::string& name, const std::vector<std::string>& arguments) {
    char output_path[] = "/tmp/ferry-victim-XXXXXX";
    const os::UniqueFd write_end(::mkstemp(output_path));
    Victim victim;
    victim.output_path_ = output_path;
    victim.output_ = TRY(os::open(output_path, O_RDONLY));
    const std::string path = std::string(VICTIM_DIRECTORY) + "/victim_" + name;
    std::vector<char*> argv = {const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments) {
        argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        ::dup2(write_end.get(), 1);
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, 0);
        ::dup2(null, 2);
        ::close_range(3, ~0U, 0);
        ::execv(path.c_str(), argv.data());
        ::_exit(127);
    }
    victim.pid_ = Pid{child};
    const std::string ready = victim.line();
    if (!ready.starts_with("READY")) {
        return fail(Error::invalid(fmt::format("victim {}: {}", name, ready)));
    }
    return victim;
}

Victim::~Victim() {
    if (!output_) return;  // moved from
    ::unlink(output_path_.c_str());
    if (pid_.value <= 0) return;
    ::kill(pid_.value, SIGKILL);
    ::waitpid(pid_.value, nullptr, 0);
}

std::string Victim::line() {
    const auto deadline = std::chrono::steady_clock::now() + kTimeout;
    for (;;) {
        const std::size_t end = buffer_.find('\n');
        if (end != std::string::npos) {
            std::string text = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            return text;
        }
        char bytes[512];
        const ssize_t n = ::read(output_.get(), bytes, sizeof(bytes));
        if (n < 0 || (n == 0 && std::chrono::steady_clock::now() > deadline)) {
            return "TIMEOUT " + buffer_;
        }
        if (n == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        buffer_.append(bytes, static_cast<std::size_t>(n));
    }
}

void Victim::let_run() {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

std::string Victim::verdict() {
    ::kill(pid_.value, SIGTERM);
    const std::string text = line();
    if (text.starts_with("TIMEOUT")) ::kill(pid_.value, SIGKILL);
    int status = 0;
    ::waitpid(pid_.value, &status, 0);
    pid_ = {};
    return text + (WIFSIGNALED(status) ? fmt::format(" (signal {})", WTERMSIG(status)) : "");
}

Result<> fill(restore::StagedTree& tree, const Snapshot& snapshot) {
    for (const auto& [pid, contents] : snapshot.pages) {
        for (const Content& content : contents) {
            TRY(tree.write_pages(Pid{pid}, content.range.start, content.bytes));
        }
    }
    return {};
}

Result<restore::ActivationReport> restore_snapshot(const Snapshot& snapshot,
                                                   const restore::StageOptions& options) {
    auto tree = TRY(restore::StagedTree::create(snapshot.checkpoint, options));
    TRY(fill(tree, snapshot));
    const auto report = TRY(tree.activate(snapshot.checkpoint, snapshot.lookup()));
    TRY(std::move(tree).run());
    return report;
}

}  // namespace ferry::live
