#include "files/archive.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace ferry::files {
namespace {

namespace fs = std::filesystem;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().describe()

class ArchiveTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string path = "/var/tmp/ferry-archive-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        for (const char* name : {"here", "there", "base"}) fs::create_directory(directory_ / name);
    }
    void TearDown() override { fs::remove_all(directory_); }

    [[nodiscard]] fs::path at(const std::string& name) const { return directory_ / name; }
    static void write(const fs::path& path, const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
    }
    static std::string read(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    os::UniqueFd archive(int how = O_RDONLY) {
        return os::open((directory_ / "archive").string(), how, 0600).value_or(os::UniqueFd());
    }
    // All of `here`, and what `then` has changed in it afterwards.
    template <class F>
    void keep(bool has_base, F then) {
        std::vector<std::optional<TreeRoot>> bases(1);
        if (has_base) {
            auto base = TreeRoot::open({.path = at("base").string()});
            ASSERT_OK(base);
            bases[0] = std::move(*base);
        }
        auto writer = ArchiveWriter::begin(archive(O_RDWR | O_CREAT | O_TRUNC), std::move(bases));
        ASSERT_OK(writer);
        auto outgoing = Outgoing::open({{.path = at("here").string()}});
        ASSERT_OK(outgoing);
        ASSERT_OK(outgoing->send_all(**writer));
        then();
        ASSERT_OK(outgoing->send_last(**writer, {}));
        ASSERT_OK((*writer)->finish());
    }
    void keep(bool has_base = false) {
        keep(has_base, [] {});
    }
    Result<> take() {
        auto incoming = TRY(Incoming::open({{.path = at("there").string()}}));
        auto reader = TRY(ArchiveReader::open(archive()));
        return reader.apply(incoming);
    }

    fs::path directory_;
};

TEST_F(ArchiveTest, ATreeComesBackAsItStoodLast) {
    const std::string zeros(100'000, '\0');
    write(at("here/file"), "first" + zeros + "last");
    write(at("here/gone"), "x");
    fs::create_directory(at("here/d"));
    // Nothing is left of what was there, not even where zeros come.
    write(at("there/file"), std::string(200'000, 'x'));
    write(at("there/d"), "no directory");
    write(at("there/foreign"), "x");
    keep(false, [this] {
        fs::rename(at("here/file"), at("here/d/file"));
        fs::remove(at("here/gone"));
        write(at("here/new"), "new");
    });
    ASSERT_OK(take());
    EXPECT_EQ(read(at("there/d/file")), "first" + zeros + "last");
    EXPECT_EQ(read(at("there/new")), "new");
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(at("there"))) {
        if (entry.exists()) ++count;
    }
    EXPECT_EQ(count, 3u);
}

TEST_F(ArchiveTest, WhatTheBaseHasIsNotKeptAndHasToBeThere) {
    const std::string large(1'000'000, 'x');
    write(at("base/same"), large);
    write(at("base/other"), large);
    for (const char* to : {"here", "there"}) {
        fs::remove(at(to));
        const std::string copy = fmt::format("cp -a {} {}", at("base").string(), at(to).string());
        ASSERT_EQ(std::system(copy.c_str()), 0);
    }
    write(at("here/other"), "changed");
    // What was written within the last tick of the file systems' clock is kept all the same.
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
    keep(true);
    EXPECT_LT(fs::file_size(at("archive")), large.size() / 2);
    ASSERT_OK(take());
    EXPECT_EQ(read(at("there/same")), large);
    EXPECT_EQ(read(at("there/other")), "changed");
    write(at("there/same"), "something else");
    const auto taken = take();
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind(), Error::Kind::Invalid);
    EXPECT_THAT(taken.error().message(), testing::HasSubstr("same was as its image has it"));
}

TEST_F(ArchiveTest, APieceOfAnArchiveIsNone) {
    write(at("here/file"), "text");
    keep();
    const std::uint64_t whole = fs::file_size(at("archive"));
    const std::string content = read(at("archive"));
    for (std::uint64_t size = 0; size < whole; ++size) {
        write(at("archive"), content.substr(0, size));
        const auto taken = take();
        ASSERT_FALSE(taken) << size;
        EXPECT_EQ(taken.error().kind(), Error::Kind::Corrupt) << size;
        EXPECT_FALSE(fs::exists(at("there/file"))) << size;
    }
    write(at("archive"), content + "more");
    EXPECT_FALSE(take());
    write(at("archive"), content);
    EXPECT_TRUE(take());
}

}  // namespace
}  // namespace ferry::files
