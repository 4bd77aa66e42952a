#include "restore/descriptors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/prctl.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>
#include <variant>

#include "base/check.h"
#include "os/process.h"
#include "os/socket.h"

namespace ferry::restore {
namespace {

using model::Descriptor;

Result<int> lookup(const FileLookup& files, model::FileId id, Pid pid, const char* use) {
    const int fd = files(id);
    if (fd >= 0) return fd;
    return fail(Error::corrupt(
        fmt::format("process {}: file {}, its {}, has not been opened", pid, id, use)));
}

// The blob's socket gets out of the way.
Result<> move_socket(StubThread& leader, int number) {
    const int now = leader.socket_number();
    if (now == number) return {};
    Program program;
    program.call("dup3", SYS_dup3, {now, number, O_CLOEXEC});
    program.call("close", SYS_close, {now});
    leader.set_socket_number(number);
    return leader.run(program);
}

// The numbers that received descriptors get: the lowest free ones, in order.
std::vector<int> received_numbers(std::size_t count, int socket_number) {
    std::vector<int> numbers;
    for (int number = 0; numbers.size() < count; ++number) {
        if (number != socket_number) numbers.push_back(number);
    }
    return numbers;
}

Result<> receive_all(StubThread& leader, std::span<const int> fds, std::span<const int> numbers) {
    for (std::size_t done = 0; done < fds.size();) {
        const auto group = fds.subspan(done, std::min(fds.size() - done, os::kScmFdsMax));
        Program program;
        const Receiver received(program, leader.socket_number(), group.size());
        TRY(leader.run(program, group));
        for (std::size_t i = 0; i < group.size(); ++i) {
            if (program.value<std::int32_t>(received.fd(i).from) == numbers[done + i]) continue;
            return fail(Error::corrupt(
                fmt::format("process {}: a descriptor arrived under an unexpected number",
                            leader.process_here())));
        }
        done += group.size();
    }
    return {};
}

// Received numbers ascend with the targets and are never above them: moving from the highest down,
// no target is ever a number that is still needed.
Result<> move_into_place(StubThread& leader, std::span<const Descriptor> targets,
                         std::span<const int> numbers) {
    Program program;
    std::set<int> final_numbers;
    for (std::size_t i = targets.size(); i-- > 0;) {
        const Descriptor& target = targets[i];
        CHECK(numbers[i] <= target.fd);
        final_numbers.insert(target.fd);
        if (numbers[i] != target.fd) {
            program.call("dup3", SYS_dup3,
                         {numbers[i], target.fd, target.close_on_exec ? O_CLOEXEC : 0});
        } else if (target.close_on_exec) {
            program.call("fcntl", SYS_fcntl, {target.fd, F_SETFD, FD_CLOEXEC});
        }
        TRY(leader.run_if_full(program));
    }
    for (const int number : numbers) {
        if (!final_numbers.contains(number)) program.call("close", SYS_close, {number});
        TRY(leader.run_if_full(program));
    }
    return leader.run_rest(program);
}

Data add_mm_map(Program& program, const model::MmLayout& layout, int exe_number) {
    prctl_mm_map map = {};
    map.start_code = layout.start_code;
    map.end_code = layout.end_code;
    map.start_data = layout.start_data;
    map.end_data = layout.end_data;
    map.start_brk = layout.start_brk;
    map.brk = layout.brk;
    map.start_stack = layout.start_stack;
    map.arg_start = layout.arg_start;
    map.arg_end = layout.arg_end;
    map.env_start = layout.env_start;
    map.env_end = layout.env_end;
    map.auxv_size = static_cast<std::uint32_t>(layout.auxv.size() * sizeof(std::uint64_t));
    map.exe_fd = static_cast<std::uint32_t>(exe_number);
    const Data auxv = program.add_array(std::span(layout.auxv));
    const Data data = program.add_value(map);
    if (!layout.auxv.empty()) program.point(data, offsetof(prctl_mm_map, auxv), auxv);
    return data;
}

const std::string* path_of(const model::Checkpoint& checkpoint, model::FileId id) {
    const model::OpenFile* file = checkpoint.find_file(id);
    const auto* regular = file == nullptr ? nullptr : std::get_if<model::RegularFile>(&file->body);
    return regular == nullptr ? nullptr : &regular->path;
}

}  // namespace

int free_number(const std::vector<Descriptor>& descriptors, std::uint64_t limit) {
    const int above = descriptors.empty() ? 0 : descriptors.back().fd + 1;
    if (static_cast<std::uint64_t>(above) < limit) return above;
    int number = 0;
    for (const Descriptor& descriptor : descriptors) {
        if (descriptor.fd != number) break;
        ++number;
    }
    return number;
}

Result<> place_descriptors(StubProcess& process, const model::Process& wanted,
                           const FileLookup& files) {
    StubThread& leader = process.leader();
    const rlimit64 limit = TRY(os::prlimit(process.here, RLIMIT_NOFILE));
    const int socket_number = free_number(wanted.descriptors, limit.rlim_cur);
    TRY(move_socket(leader, socket_number));
    std::vector<int> fds;
    for (const Descriptor& descriptor : wanted.descriptors) {
        fds.push_back(TRY(lookup(files, descriptor.file, wanted.pid, "descriptor")));
    }
    const std::vector<int> numbers = received_numbers(fds.size(), socket_number);
    TRY(receive_all(leader, fds, numbers));
    return move_into_place(leader, wanted.descriptors, numbers);
}

Result<> add_epoll_targets(Tree& tree, const model::Checkpoint& checkpoint) {
    std::set<model::FileId> done;
    for (const model::Process& wanted : checkpoint.processes) {
        StubProcess* process = tree.find(wanted.pid);
        if (process == nullptr) continue;
        Program program;
        for (const Descriptor& descriptor : wanted.descriptors) {
            const model::OpenFile* file = checkpoint.find_file(descriptor.file);
            const auto* poll =
                file == nullptr ? nullptr : std::get_if<model::EventPoll>(&file->body);
            if (poll == nullptr || done.contains(file->id)) continue;
            const auto is_here = [&](const model::EpollTarget& target) {
                return std::ranges::binary_search(wanted.descriptors, target.fd, {},
                                                  &Descriptor::fd);
            };
            if (!std::ranges::all_of(poll->targets, is_here))
                continue;  // another process's numbers
            done.insert(file->id);
            for (const model::EpollTarget& target : poll->targets) {
                epoll_event event = {};
                event.events = target.events;
                event.data.u64 = target.data;
                program.call("epoll_ctl", SYS_epoll_ctl,
                             {descriptor.fd, EPOLL_CTL_ADD, target.fd, program.add_value(event)});
                TRY(process->leader().run_if_full(program));
            }
        }
        TRY(process->leader().run_rest(program));
    }
    for (const model::OpenFile& file : checkpoint.files) {
        const auto* poll = std::get_if<model::EventPoll>(&file.body);
        if (poll == nullptr || poll->targets.empty() || done.contains(file.id)) continue;
        return fail(Error::unsupported(
            fmt::format("epoll file {} watches a descriptor that is closed", file.id)));
    }
    return {};
}

Result<> set_process_files(StubProcess& process, const model::Checkpoint& checkpoint,
                           const model::Process& wanted, const FileLookup& files) {
    // Received descriptors get the lowest numbers; these are above them.
    constexpr int kExe = 16, kRoot = 17, kCwd = 18;
    StubThread& leader = process.leader();
    TRY(move_socket(leader, 20));
    Program program;
    std::vector<int> fds;
    std::vector<int> numbers;
    const auto want = [&](model::FileId id, int number, const char* use) -> Result<> {
        fds.push_back(TRY(lookup(files, id, wanted.pid, use)));
        numbers.push_back(number);
        return {};
    };
    const model::AddressSpace& space = wanted.address_space;
    TRY(want(space.exe_file, kExe, "executable"));
    const std::string* root = path_of(checkpoint, wanted.root_directory);
    const bool changes_root = root != nullptr && *root != "/";
    if (changes_root) TRY(want(wanted.root_directory, kRoot, "root directory"));
    TRY(want(wanted.working_directory, kCwd, "working directory"));

    const Receiver received(program, leader.socket_number(), fds.size());
    for (std::size_t i = 0; i < fds.size(); ++i) {
        program.call("dup3", SYS_dup3, {received.fd(i), numbers[i], 0});
        program.call("close", SYS_close, {received.fd(i)});
    }
    program.call("prctl", SYS_prctl,
                 {PR_SET_MM, PR_SET_MM_MAP, add_mm_map(program, space.layout, kExe),
                  sizeof(prctl_mm_map), 0});
    if (changes_root) {
        program.call("fchdir", SYS_fchdir, {kRoot});
        program.call("chroot", SYS_chroot, {program.add_text(".")});
    }
    program.call("fchdir", SYS_fchdir, {kCwd});
    for (const int number : numbers) program.call("close", SYS_close, {number});
    return leader.run(program, fds);
}

}  // namespace ferry::restore
