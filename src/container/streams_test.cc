#include "container/streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

namespace ferry::container {
namespace {

class StreamsTest : public testing::Test {
  protected:
    StreamsTest() {
        char path[] = "/tmp/ferry-streams-XXXXXX";
        directory_ = ::mkdtemp(path);
    }
    ~StreamsTest() override { std::filesystem::remove_all(directory_); }
    [[nodiscard]] std::string path(const std::string& name) const {
        return directory_ + "/" + name;
    }
    static uid_t owner(int fd) {
        struct stat status = {};
        EXPECT_EQ(::fstat(fd, &status), 0);
        return status.st_uid;
    }
    std::string directory_;
};

TEST_F(StreamsTest, EachLeadsToWhatStandsForTheOriginal) {
    std::ofstream(path("errors")) << "kept";
    {
        auto streams =
            Streams::open({"/dev/null", "pipe:[7]", path("errors")}, path("made/output"));
        ASSERT_TRUE(streams) << streams.error().message();
        EXPECT_EQ(streams->links(),
                  (StreamLinks{"/dev/null", path("made/output"), path("errors")}));
        EXPECT_NE(::fcntl(streams->fd(1), F_GETFL) & O_APPEND, 0);
        EXPECT_EQ(std::filesystem::file_size(path("errors")), 4u);
        streams->keep();
    }
    EXPECT_TRUE(std::filesystem::exists(path("made/output")));
}

TEST_F(StreamsTest, WhatWasMadeAndStayedEmptyGoes) {
    {
        auto streams = Streams::open({"/dev/pts/1", "pipe:[7]", path("new")}, path("output"));
        ASSERT_TRUE(streams) << streams.error().message();
        EXPECT_EQ(streams->links()[0], "/dev/null");
        EXPECT_TRUE(std::filesystem::exists(path("output")));
        ASSERT_EQ(::write(streams->fd(2), "x", 1), 1);
    }
    EXPECT_FALSE(std::filesystem::exists(path("output")));
    EXPECT_TRUE(std::filesystem::exists(path("new")));
}

TEST_F(StreamsTest, WhatWasMadeAndPipesAreGivenToTheUser) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    constexpr uid_t kUser = 4711;
    std::ofstream(path("errors")) << "kept";
    const auto made = Streams::open({"/dev/null", "pipe:[7]", path("errors")}, path("output"));
    ASSERT_TRUE(made) << made.error().message();
    made->give_to(kUser);
    EXPECT_EQ(owner(made->fd(1)), kUser);
    EXPECT_EQ(owner(made->fd(2)), 0u) << "it was there before";
    EXPECT_EQ(owner(made->fd(0)), 0u);

    std::array<int, 2> ends = {};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    std::vector<os::UniqueFd> fds;
    fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    fds.emplace_back(ends[1]);
    fds.emplace_back(::fcntl(ends[1], F_DUPFD_CLOEXEC, 0));
    const auto given = Streams::given(std::move(fds));
    ASSERT_TRUE(given) << given.error().message();
    given->give_to(kUser);
    EXPECT_EQ(owner(given->fd(1)), kUser);
    EXPECT_EQ(owner(given->fd(0)), 0u);
    ::close(ends[0]);
}

TEST_F(StreamsTest, WhatCannotBeOpenedIsNamed) {
    const auto streams = Streams::open({path("gone"), "", ""}, path("output"));
    ASSERT_FALSE(streams);
    EXPECT_NE(streams.error().message().find("its standard input has no place here"),
              std::string::npos)
        << streams.error().message();
}

}  // namespace
}  // namespace ferry::container
