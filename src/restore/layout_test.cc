#include "restore/layout.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace ferry::restore {
namespace {

using model::VmaKind;
using Kind = LayoutStep::Kind;

MappedVma anonymous(std::uint64_t start, std::uint64_t end,
                    int protection = PROT_READ | PROT_WRITE) {
    MappedVma mapped;
    mapped.vma.range = {{start}, {end}};
    mapped.vma.protection = static_cast<std::uint32_t>(protection);
    return mapped;
}

MappedVma file(std::uint64_t start, std::uint64_t end, std::string path, std::uint64_t offset) {
    MappedVma mapped = anonymous(start, end, PROT_READ);
    mapped.vma.kind = VmaKind::FilePrivate;
    mapped.vma.file_offset = offset;
    mapped.path = std::move(path);
    return mapped;
}

AddrRange range(std::uint64_t start, std::uint64_t end) {
    return {{start}, {end}};
}

TEST(PlanLayout, FromNothingEverythingIsMapped) {
    const std::vector<MappedVma> wanted = {file(0x1000, 0x3000, "/lib", 0),
                                           anonymous(0x5000, 0x6000)};
    const auto steps = plan_layout({}, wanted);
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].kind, Kind::Map);
    EXPECT_EQ(steps[0].range, range(0x1000, 0x3000));
    EXPECT_EQ(steps[1].range, range(0x5000, 0x6000));
}

TEST(PlanLayout, EqualLayoutsNeedNothing) {
    const std::vector<MappedVma> both = {file(0x1000, 0x3000, "/lib", 0),
                                         anonymous(0x5000, 0x6000)};
    EXPECT_TRUE(plan_layout(both, both).empty());
}

TEST(PlanLayout, AMappingThatGrewIsMappedOnlyWhereItIsNew) {
    const auto steps =
        plan_layout(std::vector{anonymous(0x5000, 0x8000)}, std::vector{anonymous(0x4000, 0xa000)});
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].range, range(0x4000, 0x5000));
    EXPECT_EQ(steps[1].range, range(0x8000, 0xa000));
}

TEST(PlanLayout, AMappingThatShrankIsUnmappedOnlyWhereItWas) {
    const auto steps =
        plan_layout(std::vector{anonymous(0x4000, 0xa000)}, std::vector{anonymous(0x5000, 0x8000)});
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].kind, Kind::Unmap);
    EXPECT_EQ(steps[0].range, range(0x4000, 0x5000));
    EXPECT_EQ(steps[1].range, range(0x8000, 0xa000));
}

TEST(PlanLayout, ADifferentFileTakesThePlaceOfTheOld) {
    const auto steps = plan_layout(std::vector{file(0x1000, 0x3000, "/a", 0)},
                                   std::vector{file(0x2000, 0x4000, "/b", 0x1000)});
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].kind, Kind::Unmap);
    EXPECT_EQ(steps[0].range, range(0x1000, 0x3000));
    EXPECT_EQ(steps[1].kind, Kind::Map);
    EXPECT_EQ(steps[1].target.vma.file_offset, 0x1000u);
}

TEST(PlanLayout, APartOfAFileThatIsNewKeepsItsOffset) {
    const auto steps = plan_layout(std::vector{file(0x1000, 0x2000, "/a", 0x7000)},
                                   std::vector{file(0x1000, 0x4000, "/a", 0x7000)});
    ASSERT_EQ(steps.size(), 1u);
    EXPECT_EQ(steps[0].range, range(0x2000, 0x4000));
    EXPECT_EQ(steps[0].target.vma.file_offset, 0x8000u);
    EXPECT_EQ(steps[0].target.vma.range, range(0x2000, 0x4000));
}

TEST(PlanLayout, TheSameFileAtAnotherOffsetIsOtherMemory) {
    const auto steps = plan_layout(std::vector{file(0x1000, 0x2000, "/a", 0)},
                                   std::vector{file(0x1000, 0x2000, "/a", 0x1000)});
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].kind, Kind::Unmap);
    EXPECT_EQ(steps[1].kind, Kind::Map);
}

TEST(PlanLayout, AChangedProtectionKeepsThePages) {
    const auto steps =
        plan_layout(std::vector{anonymous(0x1000, 0x4000)},
                    std::vector{anonymous(0x1000, 0x2000), anonymous(0x2000, 0x4000, PROT_READ)});
    ASSERT_EQ(steps.size(), 1u);
    EXPECT_EQ(steps[0].kind, Kind::Protect);
    EXPECT_EQ(steps[0].range, range(0x2000, 0x4000));
    EXPECT_EQ(steps[0].target.vma.protection, static_cast<std::uint32_t>(PROT_READ));
}

TEST(PlanLayout, AdviceThatForksInheritComesLater) {
    MappedVma wanted = anonymous(0x1000, 0x2000);
    wanted.vma.advice = {MADV_DONTFORK, MADV_DONTDUMP};
    wanted.vma.name = "arena";
    const auto steps = plan_layout({}, std::vector{wanted});
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_EQ(steps[1].kind, Kind::Advise);
    EXPECT_EQ(steps[1].advice, std::vector<int>{MADV_DONTDUMP});
    EXPECT_EQ(steps[2].kind, Kind::Name);
}

TEST(PlanLayout, AdviceThatEndedIsTakenBack) {
    MappedVma now = anonymous(0x1000, 0x2000);
    now.vma.advice = {MADV_DONTDUMP};
    const auto steps = plan_layout(std::vector{now}, std::vector{anonymous(0x1000, 0x2000)});
    ASSERT_EQ(steps.size(), 1u);
    EXPECT_EQ(steps[0].advice, std::vector<int>{MADV_DODUMP});
}

TEST(WantedMappings, AreThoseThatAStubMapsItself) {
    model::Checkpoint checkpoint;
    model::RegularFile lib;
    lib.path = "/lib";
    model::OpenFile open_file;
    open_file.id = 3;
    open_file.body = lib;
    checkpoint.files.push_back(open_file);
    model::Process process;
    MappedVma text = file(0x1000, 0x2000, "", 0);
    text.vma.file = 3;
    process.address_space.vmas = {text.vma, anonymous(0x3000, 0x4000).vma};
    process.address_space.vmas.push_back(anonymous(0x5000, 0x6000).vma);
    process.address_space.vmas.back().kind = VmaKind::Vdso;
    const auto wanted = wanted_mappings(checkpoint, process);
    ASSERT_TRUE(wanted.has_value());
    ASSERT_EQ(wanted->size(), 2u);
    EXPECT_EQ((*wanted)[0].path, "/lib");

    process.address_space.vmas.back().kind = VmaKind::AnonShared;
    EXPECT_EQ(wanted_mappings(checkpoint, process)->size(), 3u);
    process.address_space.vmas = {text.vma};
    checkpoint.files.clear();
    EXPECT_EQ(wanted_mappings(checkpoint, process).error().kind(), Error::Kind::Corrupt);
}

TEST(PlanLayout, ReplacesAnotherSharedObject) {
    MappedVma now;
    now.vma.range = {{0x10000}, {0x12000}};
    now.vma.kind = VmaKind::AnonShared;
    now.vma.shared_id = 7;
    MappedVma wanted = now;
    EXPECT_TRUE(plan_layout(std::span(&now, 1), std::span(&wanted, 1)).empty());
    wanted.vma.shared_id = 8;
    const auto steps = plan_layout(std::span(&now, 1), std::span(&wanted, 1));
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[0].kind, LayoutStep::Kind::Unmap);
    EXPECT_EQ(steps[1].kind, LayoutStep::Kind::Map);
}

TEST(FindHole, LiesInTheMiddleOfTheLargestLowGap) {
    const auto hole =
        find_hole({range(0x400000, 0x500000), range(0x7f0000000000, 0x7f0000001000)}, 0x10000);
    ASSERT_TRUE(hole.has_value());
    EXPECT_GT(hole->value, 0x40000000u);
    EXPECT_LT(hole->value, 0xc0000000u);
    EXPECT_EQ(hole->value % kPageSize, 0u);
}

TEST(FindHole, GoesUpWhenTheLow4GiBAreTaken) {
    const auto hole = find_hole({range(0, 1ULL << 32)}, 1 << 20);
    ASSERT_TRUE(hole.has_value());
    EXPECT_GT(hole->value, 1ULL << 32);
    EXPECT_LT(hole->value + (1 << 20), kAddressSpaceEnd.value);
}

TEST(FindHole, SaysWhenThereIsNone) {
    EXPECT_EQ(find_hole({range(0, kAddressSpaceEnd.value)}, 4096).error().kind(),
              Error::Kind::Limit);
}

}  // namespace
}  // namespace ferry::restore
