#include "trace/stack_rooms.h"

#include <gtest/gtest.h>

namespace ferry::trace {
namespace {

constexpr AddrRange kStack = {RemoteAddr{0x7ffc00000000}, RemoteAddr{0x7ffc00021000}};

TEST(StackRooms, LieBelowWhatTheFirstThreadUses) {
    const RemoteAddr pointer{0x7ffc00020000};
    StackRooms rooms(kStack, pointer);
    std::uint64_t last = kStack.start.value;
    int count = 0;
    for (;;) {
        const StackPlace place = rooms.take();
        if (place.is_alone) break;
        ++count;
        EXPECT_GE(place.top, last + StackRooms::kRoomBytes);
        EXPECT_LE(place.top, pointer.value - StackRooms::kKeptBytes);
        last = place.top;
    }
    EXPECT_EQ(count, 4);
    rooms.clear();
    EXPECT_EQ(rooms.take().top, kStack.start.value + StackRooms::kRoomBytes);
}

TEST(StackRooms, AreNoneWhereTheFirstStackIsFullOrMissing) {
    EXPECT_TRUE(StackRooms(kStack, kStack.start + 0x1000).take().is_alone);
    EXPECT_TRUE(StackRooms({}, RemoteAddr{}).take().is_alone);
    EXPECT_TRUE(StackRooms(kStack, RemoteAddr{0xc000000000}).take().is_alone);
}

TEST(LibraryStack, IsToldByItsControlBlockAtTheEnd) {
    const AddrRange mapping = {RemoteAddr{0x7f0000000000}, RemoteAddr{0x7f0000800000}};
    const RemoteAddr block{0x7f00007ff6c0}, pointer{0x7f00007fe000};
    EXPECT_TRUE(is_library_stack(mapping, pointer, block, block.value));
    EXPECT_FALSE(is_library_stack(mapping, pointer, block, 0));
    EXPECT_FALSE(is_library_stack(mapping, RemoteAddr{0xc000000100}, block, block.value));
    const RemoteAddr inside{0x7f0000400000};
    EXPECT_FALSE(is_library_stack(mapping, inside - 0x1000, inside, inside.value));
}

}  // namespace
}  // namespace ferry::trace
