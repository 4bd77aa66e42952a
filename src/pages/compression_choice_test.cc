#include "pages/compression_choice.h"

#include <gtest/gtest.h>

namespace ferry::pages {
namespace {

using Duration = std::chrono::duration<double>;

// 100 MB in a second, of which the sender waits so much, as so many bytes on the wire.
SendMeasure round_of(double waited, std::uint64_t wire_bytes = 101'000'000) {
    return {.page_bytes = 100'000'000,
            .wire_bytes = wire_bytes,
            .duration = Duration(1),
            .waited = Duration(waited)};
}

TEST(CompressionChoice, ASlowLinkIsWorthIt) {
    CompressionChoice choice;
    EXPECT_EQ(choice.after_round(round_of(0.8)), Compression::Lz4);
    EXPECT_EQ(choice.after_round(round_of(0.1, 40'000'000)), Compression::Lz4);
}

TEST(CompressionChoice, ABusySenderOrAFastLinkIsNot) {
    CompressionChoice choice;
    EXPECT_EQ(choice.after_round(round_of(0.2)), Compression::None);
    SendMeasure fast = round_of(0.09);
    fast.duration = Duration(0.1);
    EXPECT_EQ(choice.after_round(fast), Compression::None);
}

TEST(CompressionChoice, WhatGainsNothingIsNotTriedAgain) {
    CompressionChoice choice;
    EXPECT_EQ(choice.after_round(round_of(0.8)), Compression::Lz4);
    EXPECT_EQ(choice.after_round(round_of(0.8, 99'000'000)), Compression::None);
    EXPECT_EQ(choice.after_round(round_of(0.8)), Compression::None);
}

TEST(CompressionChoice, AFewPagesSayNothing) {
    CompressionChoice choice;
    SendMeasure few = round_of(0.8);
    few.page_bytes = 4096;
    EXPECT_EQ(choice.after_round(few), Compression::None);
    EXPECT_EQ(choice.after_round({}), Compression::None);
}

}  // namespace
}  // namespace ferry::pages
