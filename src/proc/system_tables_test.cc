#include "proc/system_tables.h"

#include <gtest/gtest.h>

#include "os/fd.h"

namespace ferry::proc {
namespace {

constexpr const char* kDevices =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs "
    "drop fifo colls carrier compressed\n"
    "    lo:    4252      39    0    0    0     0          0         0     4253      40    0    0 "
    "   0     0       0          0\n"
    "eth0:18446744073709551615 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n"
    " short: 1 2 3\n";

TEST(Meminfo, WhatIsInUseIsWhatIsNotAvailable) {
    const char* text = "MemTotal:        8000 kB\nMemFree: 100 kB\nMemAvailable:    6000 kB\n";
    EXPECT_EQ(parse_memory_in_use(text).value_or(0), 2000u * 1024);
    EXPECT_EQ(parse_memory_total(text).value_or(0), 8000u * 1024);
    EXPECT_FALSE(parse_memory_in_use("MemTotal: 8000 kB\n").has_value());
    EXPECT_FALSE(parse_memory_in_use("MemTotal: x kB\nMemAvailable: 1 kB\n").has_value());
    EXPECT_FALSE(parse_memory_in_use("").has_value());
}

TEST(NetDev, CountersOfTheDeviceThatWasAskedFor) {
    const auto loopback = parse_device_counters(kDevices, "lo");
    ASSERT_TRUE(loopback.has_value());
    EXPECT_EQ(*loopback, (DeviceCounters{4252, 39, 4253, 40}));
    const auto ethernet = parse_device_counters(kDevices, "eth0");
    ASSERT_TRUE(ethernet.has_value());
    EXPECT_EQ(*ethernet, (DeviceCounters{~std::uint64_t{0}, 1, 8, 9}));
}

TEST(NetDev, AnUnknownDeviceIsGoneAndABrokenLineCorrupt) {
    const auto unknown = parse_device_counters(kDevices, "eth");
    ASSERT_FALSE(unknown.has_value());
    EXPECT_EQ(unknown.error().kind(), Error::Kind::Gone);
    const auto broken = parse_device_counters(kDevices, "short");
    ASSERT_FALSE(broken.has_value());
    EXPECT_EQ(broken.error().kind(), Error::Kind::Corrupt);
}

TEST(Snmp, RetransmissionsAreFoundByName) {
    const char* text =
        "Ip: Forwarding\nIp: 2\nTcp: RtoAlgorithm RetransSegs InErrs\nTcp: 1 42 0\nUdp: a\n";
    EXPECT_EQ(parse_tcp_retransmissions(text).value_or(0), 42u);
    EXPECT_FALSE(parse_tcp_retransmissions("Tcp: RtoAlgorithm\nTcp: 1\n").has_value());
    EXPECT_FALSE(parse_tcp_retransmissions("Tcp: A RetransSegs\nTcp: 1\n").has_value());
    EXPECT_FALSE(parse_tcp_retransmissions("Tcp: A RetransSegs\n").has_value());
}

TEST(Igmp, GroupsBelongToTheDeviceAboveThem) {
    const char* text =
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
        "1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
        "4\teth0      :     2      V3\n\t\t\t\t030201EF     1 0:00000000\t\t0\n"
        "\t\t\t\t010000E0     1 0:00000000\t\t0\n";
    const auto groups = parse_igmp(text);
    ASSERT_TRUE(groups) << groups.error().describe();
    ASSERT_EQ(groups->size(), 3u);
    EXPECT_EQ((*groups)[1], (MulticastGroup{4, "eth0", {239, 1, 2, 3}, 1}));
    EXPECT_EQ((*groups)[2], (MulticastGroup{4, "eth0", {224, 0, 0, 1}, 1}));
    const auto six =
        parse_igmp6("2    eth0            ff0200000000000000000000000000fb     1 0000000C 0\n");
    ASSERT_TRUE(six) << six.error().describe();
    ASSERT_EQ(six->size(), 1u);
    EXPECT_EQ(six->front().device_name, "eth0");
    EXPECT_EQ(six->front().users, 1);
    EXPECT_EQ(six->front().address.back(), 0xfb);
    EXPECT_FALSE(parse_igmp("\n\t\tnothing\n"));
    EXPECT_FALSE(parse_igmp6("2 eth0 ff02\n"));
}

TEST(SystemTables, ThisKernelsFilesAreRead) {
    const auto meminfo = os::read_file("/proc/meminfo");
    ASSERT_TRUE(meminfo.has_value());
    EXPECT_GT(parse_memory_in_use(*meminfo).value_or(0), 0u);
    EXPECT_LT(parse_memory_in_use(*meminfo).value_or(0), parse_memory_total(*meminfo).value_or(0));
    EXPECT_TRUE(parse_device_counters(os::read_file("/proc/net/dev").value_or(""), "lo"));
    EXPECT_TRUE(parse_tcp_retransmissions(os::read_file("/proc/net/snmp").value_or("")));
}

}  // namespace
}  // namespace ferry::proc
