#include "resources/clocks.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace ferry::resources {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(Clocks, OffsetsAreReadByNameAndByNumber) {
    const auto named =
        parse_clock_offsets("monotonic      864000         5\nboottime -3 999999999\n");
    ASSERT_TRUE(named.has_value()) << named.error().describe();
    EXPECT_EQ(named->monotonic_ns, 864000 * kSecond + 5);
    EXPECT_EQ(named->boottime_ns, -2 * kSecond - 1);
    const auto numbered = parse_clock_offsets("1 2 0\n7 3 4\n");
    ASSERT_TRUE(numbered.has_value()) << numbered.error().describe();
    EXPECT_EQ(*numbered, (model::ClockOffsets{2 * kSecond, 3 * kSecond + 4}));
}

TEST(Clocks, OffsetsAreWrittenAsTheyAreRead) {
    for (const std::int64_t offset :
         {0L, 1L, -1L, kSecond, -kSecond, -kSecond - 1, 5'000'000'001}) {
        const model::ClockOffsets offsets = {offset, -offset};
        const auto read = parse_clock_offsets(clock_offsets_text(offsets));
        ASSERT_TRUE(read.has_value()) << read.error().describe();
        EXPECT_EQ(*read, offsets);
    }
}

TEST(Clocks, OffsetsThatNoKernelWritesAreRefused) {
    for (const char* text : {"monotonic 1", "monotonic x 0\n", "monotonic 0 1000000000\n",
                             "monotonic 0 -1\n", "monotonic 99999999999 0\n"}) {
        EXPECT_FALSE(parse_clock_offsets(text).has_value()) << text;
    }
}

TEST(Clocks, OursAreTheKernelsWithOurOffsets) {
    const auto ours = clock_offsets_of(Pid{::getpid()});
    const auto times = clocks_now();
    ASSERT_TRUE(ours.has_value() && times.has_value());
    EXPECT_EQ(seen_through(*times, *ours, *ours), *times);
    const model::ClockOffsets ahead = {ours->monotonic_ns + 7, ours->boottime_ns - 7};
    const model::ClockTimes seen = seen_through(*times, *ours, ahead);
    EXPECT_EQ(seen.monotonic_ns, times->monotonic_ns + 7);
    EXPECT_EQ(seen.boottime_ns, times->boottime_ns - 7);
}

}  // namespace
}  // namespace ferry::resources
