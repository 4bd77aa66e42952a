#include "resources/memory_layout.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace ferry::resources {
namespace {

proc::MapsEntry entry(std::uint64_t start, std::uint64_t end, std::string path = "") {
    proc::MapsEntry e;
    e.range = {.start = {start}, .end = {end}};
    e.path = std::move(path);
    return e;
}

proc::MapsEntry file_entry(std::uint64_t start, std::uint64_t end, std::uint64_t offset) {
    proc::MapsEntry e = entry(start, end, "/bin/x");
    e.inode = 7;
    e.offset = offset;
    return e;
}

KnownMapping known(proc::MapsEntry e) {
    return {.entry = std::move(e), .advice = {}};
}

TEST(FindPredecessor, FindsAHeapThatHasGrown) {
    const std::vector<KnownMapping> mappings = {known(entry(0x1000, 0x3000))};
    EXPECT_EQ(find_predecessor(mappings, entry(0x1000, 0x9000)), &mappings[0]);
    EXPECT_EQ(find_predecessor(mappings, entry(0x2000, 0x3000)), &mappings[0]);
}

TEST(FindPredecessor, DoesNotTakeANeighbour) {
    const std::vector<KnownMapping> mappings = {known(entry(0x1000, 0x3000))};
    EXPECT_EQ(find_predecessor(mappings, entry(0x3000, 0x4000)), nullptr);
    EXPECT_EQ(find_predecessor(mappings, entry(0x0000, 0x1000)), nullptr);
}

TEST(FindPredecessor, WantsTheSamePlaceInTheSameFile) {
    const std::vector<KnownMapping> mappings = {known(file_entry(0x1000, 0x4000, 0x1000))};
    EXPECT_NE(find_predecessor(mappings, file_entry(0x2000, 0x4000, 0x2000)), nullptr);
    EXPECT_EQ(find_predecessor(mappings, file_entry(0x2000, 0x4000, 0)), nullptr);
    EXPECT_EQ(find_predecessor(mappings, entry(0x2000, 0x4000)), nullptr);
}

TEST(ApplyFlags, ReadsAdviceAndLocks) {
    proc::SmapsEntry smaps = {.maps = entry(0x1000, 0x2000),
                              .flags = {"rd", "mw", "dc", "lo", "gd"}};
    KnownMapping mapping;
    EXPECT_FALSE(apply_flags(smaps, false, mapping));
    EXPECT_EQ(mapping.advice, std::vector<int>{MADV_DONTFORK});
    EXPECT_TRUE(mapping.locked);
    EXPECT_TRUE(mapping.grows_down);
    EXPECT_TRUE(mapping.may_write);
    EXPECT_FALSE(mapping.no_reserve);
}

TEST(ApplyFlags, TellsDroppableMemory) {
    KnownMapping mapping = {.entry = entry(0x1000, 0x2000), .advice = {}};
    const proc::SmapsEntry plain = {.maps = entry(0x1000, 0x2000), .flags = {"rd", "wr"}};
    const proc::SmapsEntry droppable = {.maps = entry(0x1000, 0x2000), .flags = {"rd", "dp"}};
    EXPECT_FALSE(apply_flags(droppable, false, mapping).has_value());
    EXPECT_TRUE(mapping.droppable);
    EXPECT_FALSE(apply_flags(plain, false, mapping).has_value());
    EXPECT_FALSE(mapping.droppable);
}

TEST(ApplyFlags, RefusesHugePagesByName) {
    proc::SmapsEntry smaps = {.maps = entry(0x1000, 0x2000), .flags = {"rd", "ht"}};
    KnownMapping mapping;
    EXPECT_EQ(apply_flags(smaps, false, mapping), "huge pages (hugetlbfs)");
}

TEST(ApplyFlags, KnowsItsOwnWriteProtectionFromAnothers) {
    proc::SmapsEntry smaps = {.maps = entry(0x1000, 0x2000), .flags = {"uw"}};
    KnownMapping mapping;
    EXPECT_TRUE(apply_flags(smaps, false, mapping));
    EXPECT_FALSE(apply_flags(smaps, true, mapping));
}

TEST(ApplyFlags, LetsTheKernelsOwnMappingsBe) {
    proc::SmapsEntry smaps = {.maps = entry(0x1000, 0x2000, "[vvar]"), .flags = {"pf", "io", "dd"}};
    KnownMapping mapping;
    EXPECT_FALSE(apply_flags(smaps, false, mapping));
    EXPECT_TRUE(mapping.advice.empty());
}

TEST(KindOf, NamesWhatIsNotCarried) {
    proc::MapsEntry deleted = file_entry(0x1000, 0x2000, 0);
    deleted.deleted = true;
    EXPECT_EQ(*kind_of(deleted), model::VmaKind::FilePrivate);
}

TEST(KindOf, TakesAMemfdForAFileThatIsThere) {
    proc::MapsEntry memfd = file_entry(0x1000, 0x2000, 0);
    memfd.path = "/memfd:x";
    memfd.deleted = true;
    EXPECT_EQ(*kind_of(memfd), model::VmaKind::FilePrivate);
    memfd.shared = true;
    EXPECT_EQ(*kind_of(memfd), model::VmaKind::FileShared);
}

TEST(KindOf, TellsPrivateFromShared) {
    proc::MapsEntry file = file_entry(0x1000, 0x2000, 0);
    EXPECT_EQ(*kind_of(file), model::VmaKind::FilePrivate);
    file.shared = true;
    EXPECT_EQ(*kind_of(file), model::VmaKind::FileShared);
    file.path = "/dev/zero";
    file.deleted = true;
    EXPECT_EQ(*kind_of(file), model::VmaKind::AnonShared);
    file.shared = false;
    EXPECT_EQ(*kind_of(file), model::VmaKind::AnonSharedPrivate);
    file.path = "[anon_shmem:arena]";
    EXPECT_EQ(*kind_of(file), model::VmaKind::AnonSharedPrivate);
    // Of the device itself: anonymous memory that only looks like a file's.
    file.path = "/dev/zero";
    file.deleted = false;
    EXPECT_EQ(*kind_of(file), model::VmaKind::FilePrivate);
    file.path = "/SYSV00000000";
    file.deleted = true;
    EXPECT_EQ(kind_of(file).error(), "a private mapping of System V shared memory");
    EXPECT_EQ(*kind_of(entry(0x1000, 0x2000, "[anon:arena]")), model::VmaKind::Anonymous);
    EXPECT_EQ(*kind_of(entry(0x1000, 0x2000, "[vvar_vclock]")), model::VmaKind::Vvar);
}

}  // namespace
}  // namespace ferry::resources
