#include "image/page_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace ferry::image {
namespace {

class PageFiles : public testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "ferry-pages-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        path_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(path_); }

    DirectoryStore store(const std::string& below = "") {
        Result<DirectoryStore> opened = DirectoryStore::open(path_ + "/" + below);
        EXPECT_TRUE(opened);
        return std::move(*opened);
    }
    std::vector<std::string> names() {
        std::vector<std::string> found;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            found.push_back(entry.path().filename());
        }
        std::sort(found.begin(), found.end());
        return found;
    }

    std::string path_;
};

AddrRange pages(std::uint64_t first, std::uint64_t count) {
    return {{first * kPageSize}, {(first + count) * kPageSize}};
}

void write_pagemap(DirectoryStore& store, const std::vector<AddrRange>& runs) {
    Result<PagemapWriter> writer = PagemapWriter::create(store, PagemapId::process(Pid{42}), 1);
    ASSERT_TRUE(writer);
    for (const AddrRange& run : runs) {
        const std::vector<std::byte> bytes(run.size(), std::byte{0xab});
        ASSERT_TRUE(writer->append(run, bytes));
    }
    ASSERT_TRUE(std::move(*writer).finish(store));
}

TEST_F(PageFiles, RunsThatWereWrittenAreRead) {
    DirectoryStore directory = store();
    write_pagemap(directory, {pages(16, 2), pages(18, 1), pages(100, 3)});
    ASSERT_TRUE(directory.commit());
    const Result<PagemapReader> reader =
        PagemapReader::open(directory, PagemapId::process(Pid{42}));
    ASSERT_TRUE(reader) << reader.error().describe();
    ASSERT_EQ(reader->runs().size(), 2u);  // Neighbours are one run.
    EXPECT_EQ(reader->runs()[0].range, pages(16, 3));
    EXPECT_EQ(reader->runs()[1].range, pages(100, 3));
    EXPECT_EQ(reader->runs()[1].offset, 3 * kPageSize);
    EXPECT_EQ(reader->pages(), 6u);
    EXPECT_EQ(names(), (std::vector<std::string>{"pagemap-42.img", "pages-1.img"}));
}

TEST_F(PageFiles, WhatIsInTheParentIsReadThere) {
    for (const char* name : {"first", "second"})
        std::filesystem::create_directory(path_ + "/" + name);
    DirectoryStore first = store("first"), second = store("second");
    write_pagemap(first, {pages(16, 4), pages(100, 1)});
    ASSERT_TRUE(first.commit());
    Result<PagemapWriter> writer = PagemapWriter::create(second, PagemapId::process(Pid{42}), 1);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->add_in_parent(pages(16, 2)));
    ASSERT_TRUE(writer->append(pages(18, 1), std::vector<std::byte>(kPageSize, std::byte{0xcd})));
    ASSERT_TRUE(writer->add_in_parent(pages(19, 1)));
    EXPECT_EQ(writer->pages_written(), 1u);
    EXPECT_EQ(writer->pages_in_parent(), 3u);
    ASSERT_TRUE(std::move(*writer).finish(second));
    ASSERT_TRUE(link_parent(second, "../first"));
    ASSERT_TRUE(second.commit());
    EXPECT_EQ(std::filesystem::read_symlink(path_ + "/second/parent"), "../first");
    const Result<PagemapReader> reader = PagemapReader::open(second, PagemapId::process(Pid{42}));
    ASSERT_TRUE(reader) << reader.error().describe();
    const auto& runs = reader->runs();
    ASSERT_EQ(runs.size(), 3u);
    EXPECT_EQ(runs[0].range, pages(16, 2));
    EXPECT_EQ(runs[0].file, 1u);
    EXPECT_EQ(runs[1].range, pages(18, 1));
    EXPECT_EQ(runs[1].file, 0u);
    EXPECT_EQ(runs[2].range, pages(19, 1));
    EXPECT_EQ(runs[2].offset, 3 * kPageSize);
}

TEST_F(PageFiles, NothingIsLeftWithoutACommit) {
    {
        DirectoryStore directory = store();
        write_pagemap(directory, {pages(1, 1)});
        EXPECT_FALSE(names().empty());
    }
    EXPECT_TRUE(names().empty());
}

TEST_F(PageFiles, AnEarlierDumpStaysWholeUntilTheCommit) {
    std::ofstream(path_ + "/pages-1.img") << "old";
    {
        DirectoryStore directory = store();
        write_pagemap(directory, {pages(1, 1)});
    }
    EXPECT_EQ(names(), (std::vector<std::string>{"pages-1.img"}));
    EXPECT_EQ(std::filesystem::file_size(path_ + "/pages-1.img"), 3u);
}

TEST_F(PageFiles, RunsOutOfOrderAreRefused) {
    DirectoryStore directory = store();
    Result<PagemapWriter> writer = PagemapWriter::create(directory, PagemapId::process(Pid{42}), 1);
    ASSERT_TRUE(writer);
    ASSERT_TRUE(writer->add(pages(10, 2)));
    EXPECT_FALSE(writer->add(pages(11, 2)));
    EXPECT_FALSE(writer->add(pages(3, 1)));
}

TEST_F(PageFiles, ATruncatedPagesFileIsCorrupt) {
    DirectoryStore directory = store();
    write_pagemap(directory, {pages(1, 4)});
    ASSERT_TRUE(directory.commit());
    std::filesystem::resize_file(path_ + "/pages-1.img", 3 * kPageSize);
    const Result<PagemapReader> reader =
        PagemapReader::open(directory, PagemapId::process(Pid{42}));
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().kind(), Error::Kind::Corrupt);
}

TEST_F(PageFiles, AMissingPagemapIsASystemError) {
    DirectoryStore directory = store();
    const Result<PagemapReader> reader = PagemapReader::open(directory, PagemapId::process(Pid{7}));
    ASSERT_FALSE(reader);
    EXPECT_EQ(reader.error().kind(), Error::Kind::System);
    EXPECT_EQ(reader.error().code(), ENOENT);
}

TEST_F(PageFiles, StatisticsBeginWithTheServiceNumber) {
    DirectoryStore directory = store();
    ASSERT_TRUE(write_stats(directory.fd(), DumpStats{.pages_written = 7}));
    ASSERT_TRUE(write_stats(directory.fd(), RestoreStats{.pages_restored = 7}));
    for (const char* name : {"stats-dump", "stats-restore"}) {
        std::ifstream file(path_ + "/" + name, std::ios::binary);
        std::uint32_t words[2] = {};
        file.read(reinterpret_cast<char*>(words), sizeof(words));
        EXPECT_EQ(words[0], 0x55105940u) << name;
        EXPECT_EQ(words[1], 0x57093306u) << name;
    }
}

TEST_F(PageFiles, AReadOnlyOrMissingDirectoryIsAnError) {
    EXPECT_FALSE(DirectoryStore::open(path_ + "/missing"));
    std::ofstream(path_ + "/file") << "x";
    EXPECT_FALSE(DirectoryStore::open(path_ + "/file"));
}

TEST_F(PageFiles, ANameWithASlashIsRefused) {
    DirectoryStore directory = store();
    for (const char* name : {"../x", "a/b", "", ".", ".."}) {
        EXPECT_FALSE(directory.put(name, {})) << name;
        EXPECT_FALSE(directory.get(name)) << name;
    }
}

}  // namespace
}  // namespace ferry::image
