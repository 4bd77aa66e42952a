#include "resources/sock_diag.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <vector>

namespace ferry::resources {
namespace {

std::vector<std::byte> attribute(std::uint16_t length, std::uint16_t type,
                                 std::initializer_list<int> payload) {
    const rtattr header = {.rta_len = length, .rta_type = type};
    const auto head = std::as_bytes(std::span(&header, 1));
    std::vector<std::byte> bytes(head.begin(), head.end());
    for (const int value : payload) bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

std::size_t count(std::span<const std::byte> bytes) {
    std::size_t seen = 0;
    for_each_attribute(bytes, [&](std::uint16_t, std::span<const std::byte>) {
        ++seen;
        return true;
    });
    return seen;
}

TEST(SockDiag, attributes_are_aligned_and_the_last_may_lack_its_padding) {
    auto bytes = attribute(5, 1, {7, 0, 0, 0});
    const auto last = attribute(5, 2, {9});
    bytes.insert(bytes.end(), last.begin(), last.end());
    EXPECT_EQ(count(bytes), 2u);
}

TEST(SockDiag, attributes_that_lie_about_their_length_end_the_walk) {
    EXPECT_EQ(count(attribute(3, 1, {0, 0, 0, 0})), 0u);
    EXPECT_EQ(count(attribute(0, 1, {0, 0, 0, 0})), 0u);
    EXPECT_EQ(count(attribute(200, 1, {0, 0, 0, 0})), 0u);
    EXPECT_EQ(count({}), 0u);
}

}  // namespace
}  // namespace ferry::resources
