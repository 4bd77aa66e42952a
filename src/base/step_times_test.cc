#include "base/step_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace ferry {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(StepTimesTest, NamesTheStepsThatTookTimeInTheirOrder) {
    StepTimes steps;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    steps.done("first");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    steps.done("second");
    const std::string text = steps.text();
    EXPECT_THAT(text, StartsWith("first "));
    EXPECT_LT(text.find("first"), text.find("second"));
    EXPECT_LT(text.find("second"), text.find("all "));
    EXPECT_THAT(StepTimes().text(), Not(HasSubstr(",")));
}

}  // namespace
}  // namespace ferry
