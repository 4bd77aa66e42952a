#include "lab/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <thread>

#include "lab/cgroup.h"
#include "os/launch.h"
#include "os/net_socket.h"
#include "os/process.h"
#include "os/socket.h"

namespace ferry::lab {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

// Holds 40 MB and keeps one processor busy.
constexpr const char* kBusyProgram =
    "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ready; while :; do :; done";

const Series* find(const std::vector<Series>& all, Quantity quantity) {
    const auto found = std::find_if(
        all.begin(), all.end(), [&](const Series& series) { return series.quantity == quantity; });
    return found == all.end() ? nullptr : &*found;
}

double greatest(const Series& series) {
    return *std::max_element(series.values.begin(), series.values.end());
}

double total(const Series& series) {
    double sum = 0;
    for (std::size_t i = 1; i < series.values.size(); ++i) {
        sum += series.values[i] * static_cast<double>(series.at_ns[i] - series.at_ns[i - 1]) / 1e9;
    }
    return sum;
}

// A busy child in a group of its own, set up when this returns.
struct BusyGroup {
    Cgroup group;
    os::ChildProcess child;  // ends first, so that the group can be removed

    static Result<BusyGroup> start(const std::string& name) {
        BusyGroup busy;
        busy.group = TRY(Cgroup::create(name + std::to_string(::getpid())));
        auto [read_end, write_end] = TRY(os::pipe2(0));
        os::Launch launch;
        launch.arguments = {"sh", "-c", kBusyProgram};
        launch.stdout_fd = write_end.get();
        launch.cgroup_procs = busy.group.procs();
        busy.child = TRY(os::ChildProcess::start(launch));
        write_end.reset();
        std::byte ready[6];
        TRY(os::read_all(read_end.get(), ready));
        return busy;
    }
};

// Under load an interval can take much longer than it should: tests wait for what they need.
void wait_until(const std::function<bool()>& met) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!met() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
    ASSERT_TRUE(met());
}

// Until the process has used this much of a processor from now on.
void let_work(Pid pid, milliseconds time) {
    const auto before = os::processor_time(pid);
    ASSERT_TRUE(before.has_value());
    wait_until([&] { return os::processor_time(pid).value_or(*before) >= *before + time; });
}

std::vector<Series> sample_for(milliseconds time, std::vector<SampleSource> sources) {
    const RunClock clock;
    Sampler sampler(clock, std::move(sources), 50ms);
    std::this_thread::sleep_for(time);
    return sampler.stop();
}

TEST(Sampler, ACounterBecomesItsRateAndALevelStaysItself) {
    int reads = 0;
    SampleSource source;
    source.gauges = {{Quantity::Retransmissions, 1, "a", Gauge::Kind::Counter},
                     {Quantity::HostMemory, 1, "b", Gauge::Kind::Level},
                     {Quantity::Sockets, 1, "never there", Gauge::Kind::Level}};
    source.read = [&reads]() -> std::vector<std::optional<double>> {
        ++reads;
        return {100.0 * reads, 7.0, std::nullopt};
    };
    const std::vector<Series> all = sample_for(300ms, {source});
    ASSERT_EQ(all.size(), 2u);
    ASSERT_EQ(all[1].values.size(), static_cast<std::size_t>(reads));
    EXPECT_THAT(all[1].values, testing::Each(7.0));
    // The first read of a counter is only what the second is compared with.
    ASSERT_EQ(all[0].values.size(), static_cast<std::size_t>(reads) - 1);
    const double seconds = static_cast<double>(all[1].at_ns[1] - all[1].at_ns[0]) / 1e9;
    EXPECT_NEAR(all[0].values[0], 100.0 / seconds, 0.01 * all[0].values[0]);
    EXPECT_GE(seconds, 0.04);
}

TEST(Sampler, ACounterThatGoesBackOrIsAwayForATimeLeavesAGap) {
    std::vector<std::optional<double>> script = {10, 20, std::nullopt, 30, 40, 5, 6};
    std::atomic<std::size_t> next = 0;
    SampleSource source;
    source.gauges = {{Quantity::SendRate, 1, "a", Gauge::Kind::Counter}};
    source.read = [&]() -> std::vector<std::optional<double>> {
        const std::size_t at = next++;
        return {at < script.size() ? script[at] : std::nullopt};
    };
    const RunClock clock;
    Sampler sampler(clock, {source}, 20ms);
    wait_until([&] { return next >= script.size(); });
    const std::vector<Series> all = sampler.stop();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].values.size(), 3u);  // 10 to 20, 30 to 40, 5 to 6
}

TEST(Sampler, ASlowSourceIsReadAtEveryNthInterval) {
    std::atomic<int> fast_reads = 0, slow_reads = 0;
    const auto counting = [](std::atomic<int>& reads, int every) {
        return SampleSource{{{Quantity::Cpu, 0, "x"}},
                            [&reads]() -> std::vector<std::optional<double>> {
                                ++reads;
                                return {1.0};
                            },
                            every};
    };
    const RunClock clock;
    Sampler sampler(clock, {counting(fast_reads, 1)}, 10ms);
    sampler.add(counting(slow_reads, 5));
    wait_until([&] { return fast_reads >= 20; });
    static_cast<void>(sampler.stop());
    EXPECT_GE(slow_reads, 3);
    EXPECT_LE(slow_reads * 3, fast_reads);
}

TEST(SampleSource, AControlGroupsMemoryAndProcessorTime) {
    auto busy = BusyGroup::start("ferry-sampler-group-");
    ASSERT_TRUE(busy.has_value()) << busy.error().message();
    const std::vector<std::string> directories = busy->group.directories();
    const RunClock clock;
    Sampler sampler(clock,
                    {group_memory(Quantity::ContainerMemory, 1, "group", directories),
                     group_cpu(1, "group", directories)},
                    50ms);
    std::this_thread::sleep_for(200ms);
    let_work(busy->child.pid(), 400ms);
    const std::vector<Series> all = sampler.stop();
    const Series* memory = find(all, Quantity::ContainerMemory);
    const Series* cpu = find(all, Quantity::Cpu);
    ASSERT_NE(memory, nullptr);
    ASSERT_NE(cpu, nullptr);
    EXPECT_GT(memory->values.back(), 40e6);
    EXPECT_LT(memory->values.back(), 400e6);
    // Some of it may lie after the last sample. One thread cannot use more than one processor.
    EXPECT_GT(total(*cpu), 0.1);
    EXPECT_LT(greatest(*cpu), 1.3);
    EXPECT_EQ(processes_of_group(directories)(), std::vector<Pid>{busy->child.pid()});
}

TEST(SampleSource, ProcessesThatComeAreCountedAndThoseThatEndDoNotGoBack) {
    auto busy = BusyGroup::start("ferry-sampler-process-");
    ASSERT_TRUE(busy.has_value()) << busy.error().message();
    std::atomic<int> phase = 0;
    const Processes processes = [&, pid = busy->child.pid()] {
        return phase == 1 ? std::vector<Pid>{pid, Pid{::getpid()}} : std::vector<Pid>{pid};
    };
    const RunClock clock;
    Sampler sampler(clock, {process_cpu(2, "busy", processes)}, 50ms);
    for (const int next : {1, 2, 3}) {
        let_work(busy->child.pid(), 100ms);
        phase = next;
    }
    const std::vector<Series> all = sampler.stop();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_GT(total(all[0]), 0.1);
    EXPECT_GE(*std::min_element(all[0].values.begin(), all[0].values.end()), 0.0);
}

TEST(SampleSource, DescendantsAreFoundThroughThreadsOfTheirParents) {
    os::Launch launch;
    launch.arguments = {"sh", "-c", "sleep 30 & wait"};
    auto child = os::ChildProcess::start(launch);
    ASSERT_TRUE(child.has_value());
    const Processes family = process_with_descendants(child->pid());
    for (int i = 0; i < 100 && family().size() < 2; ++i) std::this_thread::sleep_for(20ms);
    EXPECT_EQ(family().size(), 2u);
}

TEST(SampleSource, ADeviceCountsWhatPassesIt) {
    std::atomic<int> rounds = 0;  // every source was read so often
    const SampleSource counter{{{Quantity::Sockets, 1, "x"}},
                               [&rounds]() -> std::vector<std::optional<double>> {
                                   ++rounds;
                                   return {std::nullopt};
                               }};
    const RunClock clock;
    Sampler sampler(clock,
                    {network_device(1, "lo", "/proc/self/net"),
                     tcp_retransmissions(1, "self", "/proc/self/net"), counter},
                    20ms);
    const auto socket = os::socket(AF_INET, SOCK_DGRAM, 0);
    ASSERT_TRUE(socket.has_value());
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);  // discard
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::vector<std::byte> data(10000);
    // The first rate has no beginning that the series tells.
    wait_until([&] { return rounds >= 3; });
    for (int i = 0; i < 100; ++i) {
        // An earlier one's refusal may be told here; it has passed the device all the same.
        static_cast<void>(os::send_to(socket->get(), data, std::as_bytes(std::span(&to, 1))));
    }
    const int before = rounds;
    wait_until([&] { return rounds >= before + 2; });
    const std::vector<Series> all = sampler.stop();
    const Series* received = find(all, Quantity::ReceiveRate);
    const Series* packets = find(all, Quantity::SendPackets);
    const Series* retransmissions = find(all, Quantity::Retransmissions);
    ASSERT_TRUE(received != nullptr && packets != nullptr && retransmissions != nullptr);
    EXPECT_GT(total(*received), 5e5);  // half of them are refused at once
    EXPECT_GT(total(*packets), 50);
    EXPECT_GE(retransmissions->values.front(), 0.0);
}

TEST(SampleSource, OpenFilesAndSocketsOfAProcess) {
    const Pid self[] = {Pid{::getpid()}};
    const CountsRecord before = count_objects(self);
    const auto socket = os::socket(AF_INET, SOCK_DGRAM, 0);
    const auto pipe = os::pipe2(0);
    ASSERT_TRUE(socket.has_value() && pipe.has_value());
    const CountsRecord after = count_objects(self);
    EXPECT_EQ(after.files, before.files + 3);
    EXPECT_EQ(after.sockets, before.sockets + 1);
    EXPECT_EQ(after.processes, 1u);
    EXPECT_GT(after.mappings, 10u);
    const std::vector<Series> all = sample_for(
        100ms, {object_counts(1, "self", [] { return std::vector<Pid>{Pid{::getpid()}}; }, 1)});
    ASSERT_EQ(all.size(), 3u);
    EXPECT_EQ(find(all, Quantity::Sockets)->values.front(), static_cast<double>(after.sockets));
}

TEST(Sampler, WhatALabLooksAtCostsLessThanATwentiethOfAProcessor) {
    const Pid self{::getpid()};
    std::vector<SampleSource> sources = {machine_memory(1, "host")};
    for (int platform = 1; platform <= 2; ++platform) {
        sources.push_back(network_device(platform, "lo", "/proc/self/net"));
        sources.push_back(tcp_retransmissions(platform, "self", "/proc/self/net"));
        sources.push_back(process_cpu(platform, "self", process_with_descendants(self)));
        sources.push_back(object_counts(platform, "self", process_with_descendants(self), 10));
    }
    const auto before = os::processor_time(self);
    const RunClock clock;
    Sampler sampler(clock, std::move(sources));
    std::this_thread::sleep_for(2s);
    const std::vector<Series> all = sampler.stop();
    const auto after = os::processor_time(self);
    ASSERT_TRUE(before.has_value() && after.has_value());
    EXPECT_GT(find(all, Quantity::HostMemory)->values.front(), 1e6);
    EXPECT_LT(*after - *before, 100ms);
}

}  // namespace
}  // namespace ferry::lab
