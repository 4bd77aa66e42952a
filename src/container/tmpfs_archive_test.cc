#include "container/tmpfs_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace ferry::container {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TmpfsEntry entry(std::string path, EntryKind kind) {
    TmpfsEntry entry;
    entry.path = std::move(path);
    entry.kind = kind;
    entry.mode = 01751;
    entry.user = 70'000'000;  // more than ustar can say
    entry.group = 8;
    entry.modified = {1'700'000'000, 123'456'789};
    entry.accessed = {1'700'000'001, 1};
    return entry;
}

TmpfsChange every_kind() {
    TmpfsChange change;
    change.cleared = {"dev/shm"};
    change.removed = {"run/old", "top"};
    change.entries = {
        entry("dev/shm", EntryKind::Directory),   entry("dev/shm/full", EntryKind::File),
        entry("dev/shm/sparse", EntryKind::File), entry("dev/shm/hole", EntryKind::File),
        entry("dev/shm/empty", EntryKind::File),  entry("dev/shm/link", EntryKind::HardLink),
        entry("run/to", EntryKind::Symlink),      entry("dev/null", EntryKind::CharacterDevice),
        entry("dev/vda", EntryKind::BlockDevice), entry("run/fifo", EntryKind::Fifo),
        entry("run/socket", EntryKind::Socket)};
    auto& entries = change.entries;
    entries[1].size = 5;
    entries[1].extents = {{.offset = 0, .bytes = std::string("he\0lo", 5)}};
    entries[1].attributes = {{"security.x", "1"}, {"user.a", std::string("b\0c", 3)}};
    entries[2].size = 1 << 20;
    entries[2].extents = {{.offset = 4096, .bytes = std::string(4096, 'x')},
                          {.offset = 65536, .bytes = std::string(8192, 'y')}};
    entries[3].size = 12345;
    entries[5].target = "dev/shm/full";
    entries[6].target = "../dev/shm/full";
    entries[7].device = ::makedev(1, 3);
    entries[8].device = ::makedev(254, 1'000'000);
    return change;
}

TEST(TmpfsArchive, BringsBackEveryKind) {
    const TmpfsChange change = every_kind();
    const auto archive = encode_tmpfs(change);
    ASSERT_TRUE(archive) << archive.error().message();
    EXPECT_LT(archive->size(), 64u << 10) << "holes were written";
    const auto read = decode_tmpfs(*archive);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->cleared, change.cleared);
    EXPECT_EQ(read->removed, change.removed);
    ASSERT_EQ(read->entries.size(), change.entries.size());
    for (std::size_t i = 0; i < change.entries.size(); ++i) {
        const TmpfsEntry& had = change.entries[i];
        const TmpfsEntry& has = read->entries[i];
        EXPECT_EQ(has.path, had.path);
        EXPECT_EQ(has.kind, had.kind) << had.path;
        EXPECT_EQ(has.mode, had.mode) << had.path;
        EXPECT_EQ(has.user, had.user) << had.path;
        EXPECT_EQ(has.group, had.group) << had.path;
        EXPECT_EQ(has.modified.tv_nsec, had.modified.tv_nsec) << had.path;
        EXPECT_EQ(has.accessed.tv_sec, had.accessed.tv_sec) << had.path;
        EXPECT_EQ(has.device, had.device) << had.path;
        EXPECT_EQ(has.target, had.target) << had.path;
        EXPECT_EQ(has.size, had.size) << had.path;
        EXPECT_EQ(has.extents, had.extents) << had.path;
        EXPECT_EQ(has.attributes, had.attributes) << had.path;
    }
}

TEST(TmpfsArchive, RefusesNamesThatLeadOut) {
    for (const char* path : {"../x", "/x", "a/../b", "a//b", "./a", "a/."}) {
        TmpfsChange change;
        change.entries = {entry(path, EntryKind::Fifo)};
        const auto archive = encode_tmpfs(change);
        ASSERT_TRUE(archive);
        const auto read = decode_tmpfs(*archive);
        ASSERT_FALSE(read) << path;
        EXPECT_EQ(read.error().kind(), Error::Kind::Corrupt);
    }
    TmpfsChange change;
    change.entries = {entry("a", EntryKind::HardLink)};
    change.entries[0].target = "../etc/shadow";
    EXPECT_FALSE(decode_tmpfs(*encode_tmpfs(change)));
}

TEST(TmpfsArchive, RefusesNonsense) {
    EXPECT_FALSE(decode_tmpfs("nonsense"));
    const std::string archive = *encode_tmpfs(every_kind());
    EXPECT_FALSE(decode_tmpfs(std::string_view(archive).substr(0, archive.size() / 2)));
    // Every byte of the first header is covered by its checksum.
    std::string damaged = archive;
    damaged[100] ^= 1;
    EXPECT_FALSE(decode_tmpfs(damaged));
}

TEST(TmpfsArchive, HoldsFilesToTheirLimit) {
    TmpfsChange large;
    large.entries = {entry("a", EntryKind::File)};
    large.entries[0].size = (std::uint64_t{1} << 34) + 1;
    const auto read = decode_tmpfs(*encode_tmpfs(large));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind(), Error::Kind::Limit);
}

}  // namespace
}  // namespace ferry::container
