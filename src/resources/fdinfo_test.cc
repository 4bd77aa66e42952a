#include "resources/fdinfo.h"

#include <gtest/gtest.h>

namespace ferry::resources {
namespace {

TEST(FdInfo, reads_a_regular_file) {
    const auto info =
        parse_fdinfo("pos:\t1234\nflags:\t02102001\nmnt_id:\t31\nino:\t72057594037927936\n");
    ASSERT_TRUE(info) << info.error().message();
    EXPECT_EQ(info->position, 1234);
    EXPECT_EQ(info->flags, 02102001u);
    EXPECT_EQ(info->mount_id, 31);
    EXPECT_EQ(info->inode, 72057594037927936u);
    EXPECT_TRUE(info->locks.empty());
}

TEST(FdInfo, shows_each_lock_with_its_range) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t0100002\nmnt_id:\t23\n"
        "lock:\t1: FLOCK  ADVISORY  WRITE 4711 fe:00:5 0 EOF\n"
        "lock:\t2: POSIX  ADVISORY  READ 4711 fe:00:5 10 19\n"
        "lock:\t3: OFDLCK ADVISORY  WRITE -1 fe:00:5 7 EOF\n");
    ASSERT_TRUE(info);
    using model::FileLock, model::LockKind;
    FileLock whole, range, rest;
    whole.kind = LockKind::Flock;
    whole.exclusive = true;
    range.start = range.length = 10;
    rest.kind = LockKind::Description;
    rest.exclusive = true;
    rest.start = 7;
    EXPECT_EQ(info->locks, (std::vector{whole, range, rest}));
    EXPECT_FALSE(info->has_lease);
}

TEST(FdInfo, reads_watches_in_the_order_of_their_numbers) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t00\nmnt_id:\t17\nino:\t1039\n"
        "inotify wd:1b ino:a7e104 sdev:fe00000 mask:4000300 ignored_mask:0 fhandle-bytes:8 "
        "fhandle-type:1 f_handle:04e1a70088dd238f\n"
        "inotify wd:1 ino:1 sdev:1b mask:fff ignored_mask:0 \n");
    ASSERT_TRUE(info) << info.error().describe();
    ASSERT_EQ(info->watches.size(), 2u);
    EXPECT_EQ(info->watches[0].number, 1);
    EXPECT_TRUE(info->watches[0].handle.empty());
    const model::InotifyWatch& watch = info->watches[1];
    EXPECT_EQ(watch.number, 27);
    EXPECT_EQ(watch.inode, 0xa7e104u);
    EXPECT_EQ(watch.device, 0xfe00000u);
    EXPECT_EQ(watch.mask, 0x4000300u);
    EXPECT_EQ(watch.handle_type, 1);
    ASSERT_EQ(watch.handle.size(), 8u);
    EXPECT_EQ(watch.handle[7], std::byte{0x8f});
}

TEST(FdInfo, tells_a_lease_from_a_lock) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t0100000\nmnt_id:\t23\n"
        "lock:\t1: LEASE  ACTIVE    READ  4711 fe:00:5 0 EOF\n");
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->has_lease);
    EXPECT_TRUE(info->locks.empty());
}

TEST(FdInfo, a_lock_that_makes_no_sense_is_corrupt) {
    for (const char* line :
         {"1: POSIX  ADVISORY  READ 4711 fe:00:5 10 9",
          "1: POSIX  ADVISORY  UNLCK 4711 fe:00:5 0 1", "1: NOVEL  ADVISORY  READ 4711 fe:00:5 0 1",
          "1: POSIX  ADVISORY  READ 4711 fe:00:5 0"}) {
        const auto info =
            parse_fdinfo("pos:\t0\nflags:\t0\nmnt_id:\t1\nlock:\t" + std::string(line) + "\n");
        ASSERT_FALSE(info) << line;
        EXPECT_EQ(info.error().kind(), Error::Kind::Corrupt);
    }
}

TEST(FdInfo, reads_an_eventfd) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n"
        "eventfd-count:               ff\neventfd-id: 3\neventfd-semaphore: 1\n");
    ASSERT_TRUE(info) << info.error().message();
    EXPECT_EQ(info->eventfd_count, 255u);
    EXPECT_TRUE(info->eventfd_semaphore);
}

TEST(FdInfo, reads_epoll_targets) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n"
        "tfd:        5 events: 8000001d data: ffffffffffffffff  pos:-1 ino:3ea4 sdev:8\n"
        "tfd:       11 events:       19 data:                b  pos:0 ino:61 sdev:d\n");
    ASSERT_TRUE(info) << info.error().message();
    ASSERT_EQ(info->epoll_targets.size(), 2u);
    EXPECT_EQ(info->epoll_targets[0].fd, 5);
    EXPECT_EQ(info->epoll_targets[0].events, 0x8000001du);
    EXPECT_EQ(info->epoll_targets[0].data, ~std::uint64_t{0});
    EXPECT_EQ(info->epoll_targets[0].inode, 0x3ea4u);
    EXPECT_EQ(info->epoll_targets[1].device, 0xdu);
}

TEST(FdInfo, reads_a_timerfd) {
    const auto info = parse_fdinfo(
        "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\nclockid: 1\nticks: 3\n"
        "settime flags: 01\nit_value: (5, 999832113)\nit_interval: (0, 20)\n");
    ASSERT_TRUE(info) << info.error().message();
    const model::TimerFd expected = {
        .clock = 1, .ticks = 3, .settime_flags = 1, .value_ns = 5'999'832'113, .interval_ns = 20};
    EXPECT_EQ(info->timer, expected);
}

TEST(FdInfo, reads_a_signalfd) {
    const auto info =
        parse_fdinfo("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\nsigmask:\t0000000000000200\n");
    ASSERT_TRUE(info) << info.error().message();
    EXPECT_EQ(info->signal_mask, 0x200u);
}

TEST(FdInfo, refuses_text_that_is_not_fdinfo) {
    for (const char* text :
         {"", "pos:\t0\n", "pos:\tx\nflags:\t0\nmnt_id:\t1\n", "pos:\t0\nflags:\t09\nmnt_id:\t1\n",
          "pos:\t0\nflags:\t0\nmnt_id:\t1\ntfd: 1 events: zz data: 0\n",
          "pos:\t0\nflags:\t0\nmnt_id:\t1\nclockid: 1\nit_value: (1, 1000000000)\n"}) {
        const auto info = parse_fdinfo(text);
        ASSERT_FALSE(info) << text;
        EXPECT_EQ(info.error().kind(), Error::Kind::Corrupt) << text;
    }
}

TEST(FdInfo, knows_kinds_by_their_links) {
    EXPECT_EQ(kind_of_link("/var/log/x.log"), FileKind::Path);
    EXPECT_EQ(kind_of_link("/memfd:cache (deleted)"), FileKind::MemFd);
    EXPECT_EQ(kind_of_link("socket:[12]"), FileKind::Socket);
    EXPECT_EQ(kind_of_link("pipe:[12]"), FileKind::Pipe);
    EXPECT_EQ(kind_of_link("anon_inode:[eventfd]"), FileKind::EventFd);
    EXPECT_EQ(kind_of_link("anon_inode:[eventpoll]"), FileKind::EventPoll);
    EXPECT_EQ(kind_of_link("anon_inode:[timerfd]"), FileKind::TimerFd);
    EXPECT_EQ(kind_of_link("anon_inode:[signalfd]"), FileKind::SignalFd);
    EXPECT_EQ(kind_of_link("anon_inode:inotify"), FileKind::Inotify);
    EXPECT_EQ(kind_of_link("anon_inode:[io_uring]"), FileKind::Other);
}

}  // namespace
}  // namespace ferry::resources
