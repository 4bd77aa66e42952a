#include "migrate/same_layout.h"

#include <gtest/gtest.h>

namespace ferry::migrate {
namespace {

model::Checkpoint some_tree() {
    model::Checkpoint tree;
    for (const std::int32_t pid : {10, 11}) {
        model::Process process;
        process.pid = Pid{pid};
        process.parent = Pid{pid - 1};
        process.threads.resize(1);
        process.threads[0].tid = Tid{pid};
        process.address_space.vmas.resize(2);
        tree.processes.push_back(std::move(process));
    }
    return tree;
}

TEST(SameLayoutTest, WhatIsKnownOnlyInTheFreezeIsNoOtherLayout) {
    const model::Checkpoint before = some_tree();
    model::Checkpoint now = some_tree();
    now.processes[1].address_space.dumpable = 0;
    now.processes[1].address_space.thp_disabled = true;
    now.processes[0].address_space.layout.brk = 4711;
    EXPECT_TRUE(same_layout(before, now));
    std::swap(now.processes[0], now.processes[1]);
    EXPECT_TRUE(same_layout(before, now));
}

TEST(SameLayoutTest, WhatIsMadeAheadIsALayout) {
    const model::Checkpoint before = some_tree();
    model::Checkpoint now = some_tree();
    now.processes[1].address_space.vmas[0].protection = 1;
    EXPECT_FALSE(same_layout(before, now));
    now = some_tree();
    now.processes[0].threads[0].tid = Tid{12};
    EXPECT_FALSE(same_layout(before, now));
    now = some_tree();
    now.processes[1].is_zombie = true;
    EXPECT_FALSE(same_layout(before, now));
    EXPECT_TRUE(same_processes(before, now));
    now.processes.pop_back();
    EXPECT_FALSE(same_processes(before, now));
}

}  // namespace
}  // namespace ferry::migrate
