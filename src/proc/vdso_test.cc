#include "proc/vdso.h"

#include <gtest/gtest.h>

namespace ferry::proc {
namespace {

MapsEntry entry(std::uint64_t start, std::uint64_t end, const char* path) {
    return {.range = {{start}, {end}}, .path = path};
}

TEST(Vdso, ItsMappingsAreFoundByName) {
    const VdsoMappings found =
        find_vdso({entry(0x1000, 0x5000, "[vvar]"), entry(0x5000, 0x7000, "[vvar_vclock]"),
                   entry(0x7000, 0x9000, "[vdso]"), entry(0x9000, 0xa000, "[stack]")});
    EXPECT_EQ(found.text, (AddrRange{{0x7000}, {0x9000}}));
    ASSERT_EQ(found.data.size(), 2u);
    EXPECT_EQ(found.data[1], (AddrRange{{0x5000}, {0x7000}}));
}

TEST(Vdso, AProcessMayHaveNone) {
    EXPECT_TRUE(find_vdso({}).text.empty());
}

TEST(Vdso, ItsHashIsTheSameEachTime) {
    const auto first = vdso_hash();
    const auto second = vdso_hash();
    ASSERT_TRUE(first.has_value());
    ASSERT_TRUE(second.has_value());
    EXPECT_EQ(*first, *second);
}

}  // namespace
}  // namespace ferry::proc
