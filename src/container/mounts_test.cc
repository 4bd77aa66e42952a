#include "container/mounts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ferry::container {
namespace {

using ::testing::HasSubstr;

const Config kConfig = {
    .rootfs = "rootfs",
    .cgroups_path = "",
    .mounts = {{.destination = "/data", .type = "bind", .source = "/srv", .options = {}}},
    .namespaces = {},
    .hooks = {},
    .protected_paths = {"/proc/scsi"}};

std::vector<proc::Mount> usual() {
    return *proc::parse_mounts(
        "65 43 254:0 /b/rootfs / rw,relatime - ext4 /dev/vda rw\n"
        "66 65 0:40 / /proc rw,relatime - proc proc rw\n"
        "67 65 0:41 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k\n"
        "68 65 0:41 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k\n"
        "69 65 254:0 /srv /data ro,relatime - ext4 /dev/vda rw\n"
        "73 72 0:29 /a/web /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"
        "74 66 0:44 / /proc/scsi ro - tmpfs tmpfs ro\n");
}

// What is said when the original has been changed.
template <class Change>
std::string complaint(Change change) {
    std::vector<proc::Mount> original = usual();
    change(original);
    const auto same = compare_mounts(original, usual(), kConfig);
    return same ? std::string() : same.error().message();
}

TEST(CompareMounts, SeesNoDifferenceInWhatIsTheHosts) {
    EXPECT_EQ(complaint([](auto&) {}), "");
    EXPECT_EQ(complaint([](auto& mounts) {
                  for (proc::Mount& mount : mounts) {
                      mount.id += 100;
                      mount.parent += 100;
                      mount.device_minor += 7;
                  }
                  mounts[0].root = "/exports/rootfs";  // the root's
                  mounts[0].type = mounts[4].type = "nfs4";
                  mounts[4].root = "/";  // of what is bound
                  mounts[5].root = "/b/web";
                  mounts[4].options = "ro,noatime";
                  mounts.pop_back();  // /proc/scsi is not there on every kernel
              }),
              "");
}

TEST(CompareMounts, NamesEveryDifference) {
    EXPECT_EQ(complaint([](auto& mounts) {
                  mounts.push_back(mounts[2]);
                  mounts.back().point = "/x";
              }),
              "mount /x (tmpfs) was made inside of the container and is not in its configuration");
    EXPECT_THAT(complaint([](auto& mounts) { mounts.push_back(mounts[2]); }),
                HasSubstr("mount /dev (tmpfs) was made inside"));
    EXPECT_EQ(complaint([](auto& mounts) { mounts.erase(mounts.begin() + 3); }),
              "mount /proc/keys (tmpfs) was taken away inside of the container");
    EXPECT_EQ(complaint([](auto& mounts) { mounts[4].options = "rw,relatime"; }),
              "mount /data (ext4) was remounted: it is rw there and ro here");
    EXPECT_EQ(complaint([](auto& mounts) { mounts[2].super_options = "rw,size=1k"; }),
              "mount /dev (tmpfs) was remounted: it has rw,size=1k there and rw,size=65536k here");
    EXPECT_EQ(complaint([](auto& mounts) { mounts[3].root = "/zero"; }),
              "mount /proc/keys (tmpfs) shows /zero of its file system there and /null here");
    EXPECT_EQ(complaint([](auto& mounts) { mounts[1].type = "tmpfs"; }),
              "mount /proc (tmpfs) is proc here");
    EXPECT_THAT(complaint([](auto& mounts) {
                    mounts[1].type = "tmpfs";
                    mounts[3].root = "/zero";
                }),
                HasSubstr("; mount /proc/keys"));
}

TEST(OwnTmpfs, IsWhatTheRuntimeMadeForTheContainer) {
    const auto mounts = *proc::parse_mounts(
        "60 1 0:30 / / rw - tmpfs root rw\n"
        "67 60 0:41 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k\n"
        "68 60 0:41 /null /proc/keys rw,nosuid - tmpfs tmpfs rw,size=65536k\n"
        "69 60 0:50 / /data rw - tmpfs host rw\n"
        "70 60 0:51 / /proc/acpi ro - tmpfs tmpfs ro\n"
        "71 60 0:52 / /tmp rw - tmpfs tmpfs rw\n"
        "72 60 0:53 / /run rw - tmpfs covered rw\n"
        "73 60 254:0 / /run rw - ext4 /dev/vda rw\n");
    std::vector<std::string> points;
    for (const proc::Mount& mount : own_tmpfs(mounts, kConfig)) points.push_back(mount.point);
    EXPECT_THAT(points, ::testing::ElementsAre("/dev", "/tmp"));
}

}  // namespace
}  // namespace ferry::container
