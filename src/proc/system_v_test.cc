#include "proc/system_v.h"

#include <gtest/gtest.h>

namespace ferry::proc {
namespace {

// As Linux 6.18 prints them.
constexpr const char* kSegments =
    "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid "
    "     atime      dtime      ctime                   rss                  swap\n"
    "-1413014120      32769  1644                  5000  7410     0      2     1     2     3     4 "
    "         0          0 1795845665                     0                     0\n";
constexpr const char* kSemaphores =
    "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
    "         7          0   600          3     0     0     0     0          0 1795845665\n"
    "         0          1   666          1     5     0     0     0          0 1795845665\n";
constexpr const char* kQueues =
    "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      "
    "stime      rtime      ctime\n"
    "1580087847          4   644          10          3     0     0     0     0     0     9        "
    "  "
    "0          0 1795845665\n";

TEST(SystemV, TablesAreRead) {
    const auto segments = parse_system_v_segments(kSegments);
    ASSERT_TRUE(segments.has_value());
    ASSERT_EQ(segments->size(), 1u);
    const SystemVSegment segment = {.object = {.key = -1413014120,
                                               .id = 32769,
                                               .mode = 01644,
                                               .uid = 1,
                                               .gid = 2,
                                               .cuid = 3,
                                               .cgid = 4},
                                    .bytes = 5000,
                                    .attached = 2,
                                    .created = {.pid = {7410}, .time = 1795845665},
                                    .last = {}};
    EXPECT_EQ(segments->front(), segment);

    const auto semaphores = parse_system_v_semaphores(kSemaphores);
    ASSERT_TRUE(semaphores.has_value());
    ASSERT_EQ(semaphores->size(), 2u);
    EXPECT_EQ(semaphores->front().count, 3u);
    EXPECT_EQ(semaphores->back().object.uid, 5u);

    const auto queues = parse_system_v_queues(kQueues);
    ASSERT_TRUE(queues.has_value());
    ASSERT_EQ(queues->size(), 1u);
    EXPECT_EQ(queues->front().messages, 3u);
    EXPECT_EQ(queues->front().object.cgid, 9u);
}

TEST(SystemV, WhatIsNoTableIsCorrupt) {
    EXPECT_TRUE(parse_system_v_queues("").has_value());
    EXPECT_FALSE(parse_system_v_queues("key\n1 2 3\n").has_value());
    EXPECT_FALSE(parse_system_v_semaphores("key\n1 2 699 1 1 1 1 1 0 0\n").has_value());
}

}  // namespace
}  // namespace ferry::proc
