#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/check.h"
#include "base/cleanup.h"

namespace ferry {
namespace {

Result<int> half(int v) {
    if (v % 2 != 0) return fail(Error::invalid("odd"));
    return v / 2;
}
Result<int> quarter(int v) {
    return TRY(half(TRY(half(v))));
}

TEST(Error, TryPassesValuesAndReturnsEarlyOnErrors) {
    EXPECT_EQ(*quarter(8), 2);
    EXPECT_EQ(quarter(6).error().kind(), Error::Kind::Invalid);
}

TEST(Error, ContextIsPrependedAndErrnoNamed) {
    const Error error = Error::system(EPERM, "ptrace(PTRACE_SEIZE, 7)").context("dump of web");
    EXPECT_EQ(error.message(), "dump of web: ptrace(PTRACE_SEIZE, 7): EPERM");
    EXPECT_EQ(error.code(), EPERM);
    EXPECT_NE(error.describe().find("error_test.cc:"), std::string::npos);
}

TEST(Cleanup, RunsUnlessDismissed) {
    int runs = 0;
    {
        Cleanup count = [&] { ++runs; };
    }
    {
        Cleanup count = [&] { ++runs; };
        count.dismiss();
    }
    EXPECT_EQ(runs, 1);
}

TEST(CheckDeathTest, AbortsWithTheExpression) {
    EXPECT_DEATH(CHECK(1 == 2), "1 == 2");
}

}  // namespace
}  // namespace ferry
