#include "resources/semaphore_set.h"

#include <gtest/gtest.h>

namespace ferry::resources {
namespace {

// As the kernel does it (ipc/sem.c): false if it would refuse.
bool perform(const std::vector<sembuf>& operations, int& value, int& adjustment) {
    for (const sembuf& operation : operations) {
        value += operation.sem_op;
        if (value < 0 || value > 32767) return false;
        if ((operation.sem_flg & SEM_UNDO) == 0) continue;
        adjustment -= operation.sem_op;
        if (adjustment < -32768 || adjustment > 32767) return false;
    }
    return true;
}

TEST(SemaphoreUndo, IsReachedFromEveryValueWhichStays) {
    for (const int value : {0, 1, 16383, 16384, 32766, 32767}) {
        for (const int wanted : {1, -1, 16384, -16384, 32767, -32767, -32768}) {
            int now = value;
            int adjustment = 0;
            for (const auto& call :
                 undo_operations(static_cast<std::uint16_t>(value),
                                 {.set = 1, .number = 0, .adjustment = wanted})) {
                EXPECT_TRUE(perform(call, now, adjustment)) << value << " " << wanted;
                EXPECT_EQ(now, value);
            }
            EXPECT_EQ(adjustment, wanted) << value;
        }
    }
}

}  // namespace
}  // namespace ferry::resources
