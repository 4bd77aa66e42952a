#include "proc/mounts.h"

#include <gtest/gtest.h>

#include <string>

#include "os/fd.h"

namespace ferry::proc {
namespace {

TEST(ParseMounts, ReadsEveryField) {
    const auto mounts = parse_mounts(
        "65 43 254:0 /b/rootfs / rw,relatime - ext4 /dev/vda rw,discard\n"
        "36 35 98:0 /mnt1 /mnt\\0402 ro,noatime shared:1 master:2 - fuse.x /dev\\134root rw,a=b\n"
        "70 67 0:39 / /dev/mqueue rw - mqueue  rw\n");
    ASSERT_TRUE(mounts) << mounts.error().message();
    ASSERT_EQ(mounts->size(), 3u);
    EXPECT_EQ((*mounts)[0], (Mount{65, 43, 254, 0, "/b/rootfs", "/", "rw,relatime", "", "ext4",
                                   "/dev/vda", "rw,discard"}));
    EXPECT_EQ((*mounts)[1], (Mount{36, 35, 98, 0, "/mnt1", "/mnt 2", "ro,noatime",
                                   "shared:1 master:2", "fuse.x", "/dev\\root", "rw,a=b"}));
    EXPECT_EQ((*mounts)[2].source, "");
    EXPECT_EQ((*mounts)[2].super_options, "rw");
    EXPECT_TRUE((*mounts)[1].has_option("noatime"));
    EXPECT_FALSE((*mounts)[1].has_option("atime"));
}

TEST(ParseMounts, RefusesWhatIsNone) {
    for (const char* line : {"", "x 43 254:0 / / rw - ext4 d rw", "65 43 254 / / rw - ext4 d rw",
                             "65 43 254:0 / / rw", "65 43 254:0 / / rw shared:1",
                             "65 43 254:0 / place rw - ext4 d rw", "65 43 254:0 / / rw -"}) {
        EXPECT_FALSE(parse_mounts(std::string(line) + "\n")) << line;
    }
    std::string many;
    for (int i = 0; i < 70'000; ++i) many += "65 43 254:0 / / rw - ext4 d rw\n";
    const auto mounts = parse_mounts(many);
    ASSERT_FALSE(mounts);
    EXPECT_EQ(mounts.error().kind(), Error::Kind::Limit);
}

TEST(ParseMounts, ReadsOurOwn) {
    const auto mounts = parse_mounts(*os::read_file("/proc/self/mountinfo"));
    ASSERT_TRUE(mounts) << mounts.error().message();
    EXPECT_FALSE(mounts->empty());
}

}  // namespace
}  // namespace ferry::proc
