#include "migrate/wire.h"

#include <gtest/gtest.h>

#include "arch/cpu_features.h"
#include "arch/xstate.h"
#include "base/limits.h"

namespace ferry::migrate {
namespace {

image::MemoryStore two_files() {
    image::MemoryStore store;
    EXPECT_TRUE(store.put("core-7.img", std::as_bytes(std::span("abc", 3))).has_value());
    EXPECT_TRUE(store.put("files.img", {}).has_value());
    return store;
}

TEST(Wire, PackedStoresComeBackWhole) {
    const image::MemoryStore store = two_files();
    const Result<image::MemoryStore> back = unpack(pack(store));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->files(), store.files());
}

TEST(Wire, EveryTruncationOfAPackedStoreIsCorrupt) {
    const model::Bytes packed = pack(two_files());
    for (std::size_t size = 0; size < packed.size(); ++size) {
        const auto result = unpack(std::span(packed).first(size));
        ASSERT_FALSE(result.has_value()) << size;
        EXPECT_EQ(result.error().kind(), Error::Kind::Corrupt) << size;
    }
}

TEST(Wire, HeadersOfForeignProtocolsAreRefused) {
    EXPECT_FALSE(check({.magic = 0x48545450, .type = 1, .length = 0}).has_value());
    EXPECT_FALSE(check({.type = 0, .length = 0}).has_value());
    EXPECT_FALSE(check({.type = 99, .length = 0}).has_value());
    EXPECT_EQ(check({.type = 5, .length = limits::kWireFrameBytesMax + 1ull}).error().kind(),
              Error::Kind::Limit);
    EXPECT_EQ(*check({.type = 5, .length = 10}), FrameType::Pages);
}

TEST(Wire, HelloSurvivesAndNonsenseDoesNot) {
    const HelloBody body = {.session = "s", .kernel_release = "6.18", .vdso_hash = ~0ull};
    const std::string text = encode(body);
    const Result<HelloBody> back = decode_hello(std::as_bytes(std::span(text)));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->vdso_hash, ~0ull);
    EXPECT_FALSE(decode_hello(std::as_bytes(std::span("{}", 2))).has_value());
}

TEST(Wire, ACpuThatLacksFeaturesIsRefusedByTheirNames) {
    HelloBody hello = {.cpu_features = arch::cpu_features(),
                       .cpu_state = arch::XStateLayout::of_this_cpu().features};
    EXPECT_TRUE(check_cpu(hello).has_value());
    hello.cpu_features.emplace_back("avx1024");
    hello.cpu_state |= std::uint64_t{1} << 61;
    const Result<> refused = check_cpu(hello);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind(), Error::Kind::Unsupported);
    EXPECT_NE(refused.error().message().find("avx1024, state components 0x2000000000000000"),
              std::string::npos)
        << refused.error().message();
    EXPECT_TRUE(check_cpu({}).has_value());
}

}  // namespace
}  // namespace ferry::migrate
