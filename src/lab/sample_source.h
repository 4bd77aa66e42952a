// What the sampler (sampler.h) can look at: memory, processors, devices, sockets and files, read
// from procfs and from control groups v1 and v2. Each read costs a few system calls; none of them
// stops the processes that are looked at.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/types.h"
#include "lab/run_record.h"

namespace ferry::lab {

struct Gauge {
    enum class Kind {
        Level,   // the value is the sample
        Counter  // the sample is what it grew by, per second
    };
    Quantity quantity = Quantity::HostMemory;
    int platform = 0;
    std::string subject;
    Kind kind = Kind::Level;
};

struct SampleSource {
    std::vector<Gauge> gauges;
    // One value per gauge, in their order; nullopt where there is none now (the group or the
    // process is not there yet, or no more): the series then has a gap. Called from the sampler's
    // thread.
    std::function<std::vector<std::optional<double>>()> read;
    int every = 1;  // of the sampler's intervals
};

// Which processes, asked again for each sample: they come and go. Ids as the sampler sees them.
using Processes = std::function<std::vector<Pid>()>;
[[nodiscard]] Processes process_with_descendants(Pid root);
// Of the group at these directories (one in each hierarchy, as Cgroup::directories() has them).
[[nodiscard]] Processes processes_of_group(std::vector<std::string> directories);

// Every process of this command name (/proc/PID/comm), with its descendants.
[[nodiscard]] Processes processes_of_command(std::string name);

// Quantity::Cpu of this machine: what was not idle (proc_stat(5)).
[[nodiscard]] SampleSource machine_cpu(int platform, std::string subject);
// Quantity::HostMemory of this machine: MemTotal - MemAvailable.
[[nodiscard]] SampleSource machine_memory(int platform, std::string subject);
// Of a control group: what is charged to it, less the file cache that nobody used lately (as
// `docker stats` counts). For a container, or as the "host memory" of a platform that is a group.
[[nodiscard]] SampleSource group_memory(Quantity quantity, int platform, std::string subject,
                                        std::vector<std::string> directories);
// Quantity::Cpu: of a control group (v1 cpuacct, v2), or of processes.
[[nodiscard]] SampleSource group_cpu(int platform, std::string subject,
                                     std::vector<std::string> directories);
[[nodiscard]] SampleSource process_cpu(int platform, std::string subject, Processes processes);
// Bytes and packets per second, both directions. `net` is "/proc/PID/net" of a process in the
// device's network namespace.
[[nodiscard]] SampleSource network_device(int platform, std::string device, std::string net);
// Of all sockets of a network namespace.
[[nodiscard]] SampleSource tcp_retransmissions(int platform, std::string subject, std::string net);
// Open files, sockets and mappings. Takes some microseconds per open file, hence `every`.
[[nodiscard]] SampleSource object_counts(int platform, const std::string& subject,
                                         Processes processes, int every);

// The same memory figure, once; nullopt if the group is not there.
[[nodiscard]] std::optional<std::uint64_t> memory_of_group(
    std::span<const std::string> directories);
// The proportional set size of the process of this directory ("/proc/17"), in bytes: of a page that
// n processes have mapped it has an nth. 0 if the process is gone (proc_pid_smaps(5)).
[[nodiscard]] std::uint64_t proportional_memory(const std::string& process);
// The same counts, once.
[[nodiscard]] CountsRecord count_objects(std::span<const Pid> processes);

}  // namespace ferry::lab
