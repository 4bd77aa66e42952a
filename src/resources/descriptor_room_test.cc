#include "resources/descriptor_room.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace ferry::resources {
namespace {

std::size_t table_size() {
    std::ifstream status("/proc/self/status");
    for (std::string key; status >> key; status.ignore(4096, '\n')) {
        std::size_t size = 0;
        if (key == "FDSize:" && status >> size) return size;
    }
    return 0;
}

int open_descriptors() {
    int count = 0;
    for (int fd = 0; fd < 5000; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
}

TEST(DescriptorRoomTest, TheTableHasRoomAndNothingIsLeftOpen) {
    const int before = open_descriptors();
    ASSERT_TRUE(make_room_for_descriptors(5000));
    EXPECT_GE(table_size(), 5000u);
    ASSERT_TRUE(make_room_for_descriptors());
    EXPECT_GE(table_size(), 5000u);
    EXPECT_EQ(open_descriptors(), before);
}

TEST(DescriptorRoomTest, MoreThanTheLimitAllowsIsNoError) {
    ASSERT_TRUE(make_room_for_descriptors(std::size_t{1} << 40));
}

}  // namespace
}  // namespace ferry::resources
