#include "restore/filler.h"

#include <gtest/gtest.h>

namespace ferry::restore {
namespace {

MappedVma mapping(std::uint64_t start, std::uint64_t end,
                  model::VmaKind kind = model::VmaKind::Anonymous) {
    MappedVma mapped;
    mapped.vma.range = {{start}, {end}};
    mapped.vma.kind = kind;
    return mapped;
}

AddrRange range(std::uint64_t start, std::uint64_t end) {
    return {{start}, {end}};
}

TEST(AbsentRanges, AreTheGapsBetweenWhatIsPresent) {
    const std::vector mapped = {mapping(0x1000, 0x9000)};
    const std::vector present = {range(0x2000, 0x3000), range(0x5000, 0x6000)};
    const std::vector expected = {range(0x1000, 0x2000), range(0x3000, 0x5000),
                                  range(0x6000, 0x9000)};
    EXPECT_EQ(absent_ranges(mapped, present), expected);
}

TEST(AbsentRanges, ARunMaySpanMappings) {
    const std::vector mapped = {mapping(0x1000, 0x3000), mapping(0x3000, 0x5000),
                                mapping(0x6000, 0x7000)};
    const std::vector present = {range(0x2000, 0x4000)};
    const std::vector expected = {range(0x1000, 0x2000), range(0x4000, 0x5000),
                                  range(0x6000, 0x7000)};
    EXPECT_EQ(absent_ranges(mapped, present), expected);
}

TEST(AbsentRanges, SharedFilesAreLeftAlone) {
    const std::vector mapped = {mapping(0x1000, 0x3000, model::VmaKind::FileShared)};
    EXPECT_TRUE(absent_ranges(mapped, {}).empty());
}

TEST(AbsentRanges, NothingIsAbsentWhereAllIsPresent) {
    const std::vector mapped = {mapping(0x1000, 0x3000)};
    const std::vector present = {range(0x1000, 0x3000)};
    EXPECT_TRUE(absent_ranges(mapped, present).empty());
}

}  // namespace
}  // namespace ferry::restore
