#include "lab/sample_source.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "migrate/tree_figures.h"
#include "os/fd.h"
#include "os/process.h"
#include "proc/system_tables.h"
#include "proc/tables.h"
#include "proc/text.h"

namespace ferry::lab {
namespace {

using Values = std::vector<std::optional<double>>;

std::optional<double> as_value(const Result<std::uint64_t>& number) {
    if (!number) return std::nullopt;
    return static_cast<double>(*number);
}

// A file with one number, in whichever of the directories it is.
std::optional<std::uint64_t> number_in(std::span<const std::string> directories, const char* file) {
    for (const std::string& directory : directories) {
        const Result<std::string> text = os::read_file(directory + "/" + file);
        if (!text) continue;
        std::string_view rest = *text;
        return proc::to_number<std::uint64_t>(proc::take_until(rest, '\n'));
    }
    return std::nullopt;
}

// A file of lines "key number".
std::optional<std::uint64_t> field_in(std::span<const std::string> directories, const char* file,
                                      std::string_view key) {
    for (const std::string& directory : directories) {
        const Result<std::string> text = os::read_file(directory + "/" + file);
        if (!text) continue;
        std::string_view rest = *text;
        while (!rest.empty()) {
            std::string_view line = proc::take_until(rest, '\n');
            if (proc::take_word(line) == key) {
                return proc::to_number<std::uint64_t>(proc::take_word(line));
            }
        }
    }
    return std::nullopt;
}

// In seconds.
std::optional<double> cpu_of_group(std::span<const std::string> directories) {
    if (const auto ns = number_in(directories, "cpuacct.usage")) {
        return static_cast<double>(*ns) / 1e9;
    }
    if (const auto us = field_in(directories, "cpu.stat", "usage_usec")) {
        return static_cast<double>(*us) / 1e6;
    }
    return std::nullopt;
}

// A counter over processes that come and go: what a process used before it was first seen counts
// if it was born after the first read; what it uses between the last read and its end is lost.
class ProcessCpu {
  public:
    explicit ProcessCpu(Processes processes) : processes_(std::move(processes)) {}

    Values operator()() {
        std::map<Pid, double> now;
        for (const Pid pid : processes_()) {
            const auto time = os::processor_time(pid);
            if (time) now[pid] = std::chrono::duration<double>(*time).count();
        }
        for (const auto& [pid, seconds] : now) {
            const auto before = known_.find(pid);
            // Less than before: the id was given to another process.
            const bool same = before != known_.end() && before->second <= seconds;
            if (same) {
                total_ += seconds - before->second;
            } else if (started_) {
                total_ += seconds;
            }
        }
        known_ = std::move(now);
        started_ = true;
        return {total_};
    }

  private:
    Processes processes_;
    std::map<Pid, double> known_;
    double total_ = 0;
    bool started_ = false;
};

void add_descendants(Pid pid, std::set<Pid>& found) {
    if (!found.insert(pid).second) return;
    const std::string tasks = fmt::format("/proc/{}/task", pid);
    const auto threads = os::list_directory(os::kCwd, tasks);
    if (!threads) return;
    for (const std::string& thread : *threads) {
        const auto text = os::read_file(fmt::format("{}/{}/children", tasks, thread));
        if (!text) continue;
        const auto children = proc::parse_children(*text);
        if (!children) continue;
        for (const Pid child : *children) add_descendants(child, found);
    }
}

}  // namespace

Processes process_with_descendants(Pid root) {
    return [root] {
        std::set<Pid> found;
        add_descendants(root, found);
        return std::vector<Pid>(found.begin(), found.end());
    };
}

Processes processes_of_command(std::string name) {
    return [name = std::move(name)] {
        std::set<Pid> found;
        for (const std::string& entry :
             os::list_directory(os::kCwd, "/proc").value_or(std::vector<std::string>())) {
            const auto pid = proc::to_number<pid_t>(entry);
            if (!pid) continue;
            const std::string comm = os::read_file("/proc/" + entry + "/comm").value_or("");
            if (comm == name + "\n") add_descendants(Pid{*pid}, found);
        }
        return std::vector<Pid>(found.begin(), found.end());
    };
}

Processes processes_of_group(std::vector<std::string> directories) {
    return [directories = std::move(directories)] {
        std::vector<Pid> pids;
        for (const std::string& directory : directories) {
            const Result<std::string> text = os::read_file(directory + "/cgroup.procs");
            if (!text) continue;
            std::string_view rest = *text;
            while (!rest.empty()) {
                if (const auto pid = proc::to_number<pid_t>(proc::take_until(rest, '\n'))) {
                    pids.push_back(Pid{*pid});
                }
            }
            break;
        }
        return pids;
    };
}

std::optional<std::uint64_t> memory_of_group(std::span<const std::string> directories) {
    // v1 counts subgroups in total_inactive_file only; v2 has inactive_file for that.
    auto charged = number_in(directories, "memory.usage_in_bytes");
    auto idle = field_in(directories, "memory.stat", "total_inactive_file");
    if (!charged) charged = number_in(directories, "memory.current");
    if (!idle) idle = field_in(directories, "memory.stat", "inactive_file");
    if (!charged) return std::nullopt;
    return *charged - std::min(*charged, idle.value_or(0));
}

std::uint64_t proportional_memory(const std::string& process) {
    const std::string directories[] = {process};
    return field_in(directories, "smaps_rollup", "Pss:").value_or(0) * 1024;
}

CountsRecord count_objects(std::span<const Pid> processes) {
    const migrate::ObjectCounts counts = migrate::measure_tree(processes).objects;
    return {counts.processes, counts.files, counts.sockets, counts.mappings};
}

SampleSource machine_memory(int platform, std::string subject) {
    return {{{Quantity::HostMemory, platform, std::move(subject)}}, [] {
                const std::string text = os::read_file("/proc/meminfo").value_or("");
                return Values{as_value(proc::parse_memory_in_use(text))};
            }};
}

SampleSource machine_cpu(int platform, std::string subject) {
    return {{{Quantity::Cpu, platform, std::move(subject), Gauge::Kind::Counter}}, []() -> Values {
                const std::string text = os::read_file("/proc/stat").value_or("");
                std::string_view line(text);
                line = proc::take_until(line, '\n');
                if (proc::take_word(line) != "cpu") return {std::nullopt};
                // user nice system idle iowait irq softirq steal
                constexpr bool kBusy[] = {true, true, true, false, false, true, true, false};
                double ticks = 0;
                for (const bool busy : kBusy) {
                    const auto spent = proc::to_number<std::uint64_t>(proc::take_word(line));
                    if (busy) ticks += static_cast<double>(spent.value_or(0));
                }
                return {ticks / static_cast<double>(::sysconf(_SC_CLK_TCK))};
            }};
}

SampleSource group_memory(Quantity quantity, int platform, std::string subject,
                          std::vector<std::string> directories) {
    return {{{quantity, platform, std::move(subject)}},
            [directories = std::move(directories)]() -> Values {
                const auto bytes = memory_of_group(directories);
                if (!bytes) return {std::nullopt};
                return {static_cast<double>(*bytes)};
            }};
}

SampleSource group_cpu(int platform, std::string subject, std::vector<std::string> directories) {
    return {{{Quantity::Cpu, platform, std::move(subject), Gauge::Kind::Counter}},
            [directories = std::move(directories)] { return Values{cpu_of_group(directories)}; }};
}

SampleSource process_cpu(int platform, std::string subject, Processes processes) {
    return {{{Quantity::Cpu, platform, std::move(subject), Gauge::Kind::Counter}},
            ProcessCpu(std::move(processes))};
}

SampleSource network_device(int platform, std::string device, std::string net) {
    std::vector<Gauge> gauges;
    for (const Quantity quantity : {Quantity::ReceiveRate, Quantity::ReceivePackets,
                                    Quantity::SendRate, Quantity::SendPackets}) {
        gauges.push_back({quantity, platform, device, Gauge::Kind::Counter});
    }
    return {std::move(gauges),
            [device = std::move(device), path = std::move(net) + "/dev"]() -> Values {
                const std::string text = os::read_file(path).value_or("");
                const auto counters = proc::parse_device_counters(text, device);
                if (!counters) return Values(4);
                return {static_cast<double>(counters->received_bytes),
                        static_cast<double>(counters->received_packets),
                        static_cast<double>(counters->sent_bytes),
                        static_cast<double>(counters->sent_packets)};
            }};
}

SampleSource tcp_retransmissions(int platform, std::string subject, std::string net) {
    return {{{Quantity::Retransmissions, platform, std::move(subject), Gauge::Kind::Counter}},
            [path = std::move(net) + "/snmp"] {
                const std::string text = os::read_file(path).value_or("");
                return Values{as_value(proc::parse_tcp_retransmissions(text))};
            }};
}

SampleSource object_counts(int platform, const std::string& subject, Processes processes,
                           int every) {
    std::vector<Gauge> gauges;
    for (const Quantity quantity : {Quantity::OpenFiles, Quantity::Sockets, Quantity::Mappings}) {
        gauges.push_back({quantity, platform, subject});
    }
    return {std::move(gauges),
            [processes = std::move(processes)]() -> Values {
                const CountsRecord counts = count_objects(processes());
                return {static_cast<double>(counts.files), static_cast<double>(counts.sockets),
                        static_cast<double>(counts.mappings)};
            },
            every};
}

}  // namespace ferry::lab
