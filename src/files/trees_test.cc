// A tree at a source and its copy at a destination, without a network between them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "files/incoming.h"
#include "files/outgoing.h"

namespace ferry::files {
namespace {

namespace fs = std::filesystem;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().describe()

class ToIncoming : public Destination {
  public:
    explicit ToIncoming(Incoming& incoming) : incoming_(incoming) {}
    Result<std::vector<Wanted>> offer(std::span<const std::byte> records) override {
        ++offers;
        return decode_wanted(encode(TRY(incoming_.offer(records))));
    }
    Result<> send(std::span<const std::byte> records) override {
        sent += records.size();
        return incoming_.apply(records);
    }
    int offers = 0;
    std::size_t sent = 0;

  private:
    Incoming& incoming_;
};

class TreesTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string path = "/var/tmp/ferry-trees-XXXXXX";
        ASSERT_NE(::mkdtemp(path.data()), nullptr);
        directory_ = path;
        fs::create_directory(here());
        fs::create_directory(there());
    }
    void TearDown() override { fs::remove_all(directory_); }

    fs::path here() const { return directory_ / "here"; }
    fs::path there() const { return directory_ / "there"; }

    void open() {
        auto outgoing = Outgoing::open({{.path = here().string()}});
        ASSERT_OK(outgoing);
        outgoing_.emplace(std::move(*outgoing));
        auto incoming = Incoming::open({{.path = there().string()}});
        ASSERT_OK(incoming);
        incoming_.emplace(std::move(*incoming));
        to_.emplace(*incoming_);
    }
    Moved send_all() {
        const auto moved = outgoing_->send_all(*to_);
        EXPECT_TRUE(moved) << moved.error().describe();
        return moved.value_or(Moved{});
    }
    Moved send_last(const std::vector<Suspect>& suspects = {}) {
        const int offers = to_->offers;
        const auto moved = outgoing_->send_last(*to_, suspects);
        EXPECT_TRUE(moved) << moved.error().describe();
        EXPECT_EQ(to_->offers, offers) << "the freeze waited for an answer";
        return moved.value_or(Moved{});
    }
    // Past the tick of the clock by which files get their times.
    static void let_time_pass() { std::this_thread::sleep_for(std::chrono::milliseconds(25)); }

    static void write(const fs::path& path, const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
    }
    static std::string read(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    // Everything that a program can see of a tree, one line for each node.
    static std::map<std::string, std::string> seen(const fs::path& top) {
        std::map<std::string, std::string> lines;
        std::map<ino_t, std::string> first;
        std::vector<fs::path> paths = {top};
        for (const auto& entry : fs::recursive_directory_iterator(top)) paths.push_back(entry);
        std::ranges::sort(paths);
        for (const fs::path& path : paths) {
            struct stat status = {};
            EXPECT_EQ(::lstat(path.c_str(), &status), 0);
            const std::string name = fs::relative(path, top).string();
            const bool linked = S_ISREG(status.st_mode) && status.st_nlink > 1;
            std::ostringstream line;
            line << status.st_mode << ' ' << status.st_uid << ':' << status.st_gid << ' '
                 << status.st_mtim.tv_sec << '.' << status.st_mtim.tv_nsec << ' ' << status.st_rdev
                 << ' ' << (S_ISREG(status.st_mode) ? status.st_size : 0);
            if (linked) line << " =" << first.try_emplace(status.st_ino, name).first->second;
            if (S_ISLNK(status.st_mode)) line << " ->" << fs::read_symlink(path).string();
            if (S_ISREG(status.st_mode)) line << ' ' << std::hash<std::string>()(read(path));
            char value[64] = {};
            const auto size = ::lgetxattr(path.c_str(), "user.x", value, sizeof value);
            if (size > 0) line << ' ' << std::string(value, static_cast<std::size_t>(size));
            lines[name] = line.str();
        }
        return lines;
    }
    void expect_same() const { EXPECT_EQ(seen(there()), seen(here())); }

    fs::path directory_;
    std::optional<Outgoing> outgoing_;
    std::optional<Incoming> incoming_;
    std::optional<ToIncoming> to_;
};

TEST_F(TreesTest, EveryKindOfNodeComesAsItIs) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    fs::create_directories(here() / "a/b");
    write(here() / "a/file", "text");
    ::chmod((here() / "a/file").c_str(), 04711);
    ASSERT_EQ(::chown((here() / "a").c_str(), 70, 80), 0);
    ASSERT_EQ(::setxattr((here() / "a/file").c_str(), "user.x", "y", 1, 0), 0);
    fs::create_hard_link(here() / "a/file", here() / "a/b/also");
    fs::create_symlink("../a/file", here() / "link");
    ASSERT_EQ(::mknod((here() / "null").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
    ASSERT_EQ(::mkfifo((here() / "fifo").c_str(), 0640), 0);
    ASSERT_EQ(::mknod((here() / "socket").c_str(), S_IFSOCK | 0755, 0), 0);
    write(there() / "old", "was here");
    fs::create_directories(there() / "a/file");  // another kind
    open();
    send_all();
    expect_same();
}

TEST_F(TreesTest, HolesStayHoles) {
    write(here() / "sparse", "x");
    fs::resize_file(here() / "sparse", 1u << 30);
    open();
    send_all();
    EXPECT_LT(to_->sent, 100'000u);
    expect_same();
    struct stat status = {};
    ASSERT_EQ(::stat((there() / "sparse").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks, 100);
}

TEST_F(TreesTest, OnlyTheBlocksThatDifferAreSent) {
    const std::string text(10u << 20, 'a');
    write(here() / "big", text);
    write(there() / "big", text);  // at another time
    write(here() / "same", text);
    fs::copy_file(here() / "same", there() / "same");
    fs::last_write_time(there() / "same", fs::last_write_time(here() / "same"));
    open();
    EXPECT_EQ(send_all().bytes, 0u);
    expect_same();
    let_time_pass();
    std::fstream(here() / "big", std::ios::in | std::ios::out | std::ios::binary).seekp(5u << 20)
        << "changed";
    const Moved moved = send_all();
    EXPECT_EQ(moved.bytes, kBlockBytes);
    expect_same();
    let_time_pass();
    std::ofstream(here() / "big", std::ios::app) << "more";
    EXPECT_EQ(send_last().bytes, 4u);
    expect_same();
    // Never sent, so never read: all of it goes, without a question.
    std::ofstream(here() / "same", std::ios::app) << "more";
    EXPECT_EQ(send_last().bytes, text.size() + 4);
    expect_same();
}

TEST_F(TreesTest, WhatIsWrittenThroughAMappingIsFoundWhereItIsSuspected) {
    const std::string text(3 * kBlockBytes, 'a');
    write(here() / "mapped", text);
    open();
    send_all();
    struct stat before = {};
    ASSERT_EQ(::stat((here() / "mapped").c_str(), &before), 0);
    std::fstream(here() / "mapped", std::ios::in | std::ios::out).seekp(kBlockBytes) << "b";
    const timespec times[] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, (here() / "mapped").c_str(), times, 0), 0);
    EXPECT_EQ(send_last({{.path = {0, "mapped"}, .is_mapped = true}}).bytes, kBlockBytes);
    expect_same();
}

TEST_F(TreesTest, FilesThatMoveAreNotSentAgain) {
    const std::string text(1u << 20, 'l');
    fs::create_directories(here() / "log/old");
    write(here() / "log/a", text);
    write(here() / "log/a.1", text + "1");
    write(here() / "log/old/deep", text + "2");
    open();
    send_all();
    struct stat before = {};
    ASSERT_EQ(::stat((there() / "log/a").c_str(), &before), 0);
    let_time_pass();
    fs::rename(here() / "log/a.1", here() / "log/a.2");
    fs::rename(here() / "log/a", here() / "log/a.1");
    write(here() / "log/a", "new");
    fs::rename(here() / "log/old", here() / "older");
    fs::create_hard_link(here() / "log/a.2", here() / "kept");
    EXPECT_EQ(send_last().bytes, 3u);
    expect_same();
    struct stat after = {};
    ASSERT_EQ(::stat((there() / "log/a.1").c_str(), &after), 0);
    EXPECT_EQ(after.st_ino, before.st_ino);
    // As most programs replace a file.
    write(here() / "older/new", text + "3");
    send_all();
    let_time_pass();
    fs::rename(here() / "older/new", here() / "older/deep");
    EXPECT_EQ(send_last().bytes, 0u);
    expect_same();
    fs::remove_all(here() / "older");
    fs::create_directory(here() / "log/a.3");
    write(here() / "older", "a file now");
    send_last();
    expect_same();
}

TEST_F(TreesTest, NothingThatIsWrittenMeanwhileIsMissed) {
    for (int i = 0; i < 20; ++i) write(here() / std::to_string(i), std::string(50'000, 'a'));
    open();
    std::atomic<bool> ends = false;
    std::thread writer([&] {
        for (unsigned n = 0; !ends; ++n) {
            const fs::path path = here() / std::to_string(n % 20);
            std::fstream(path, std::ios::in | std::ios::out).seekp(n * 7919 % 50'000) << n;
            std::ofstream(here() / "log", std::ios::app) << n << '\n';
            if (n % 50 == 0) fs::rename(here() / "log", here() / "log.1");
            if (n % 70 == 0) {
                fs::create_directory(here() / "d");
                write(here() / "d/x", std::to_string(n));
            }
            if (n % 70 == 35) fs::remove_all(here() / "d");
        }
    });
    for (int i = 0; i < 30; ++i) send_all();
    ends = true;
    writer.join();
    send_last();
    expect_same();
}

TEST_F(TreesTest, OnlyWhatWasNoticedIsLookedAtAgain) {
    constexpr int kFiles = 500;
    for (int i = 0; i < kFiles; ++i) write(here() / std::to_string(i), "a");
    open();
    EXPECT_GT(send_all().looks, kFiles);
    let_time_pass();
    send_all();
    // Now and then it looks at everything.
    std::uint64_t fewest = kFiles;
    for (int i = 0; i < 100 && fewest >= 10; ++i) {
        write(here() / "7", std::to_string(i));
        const Moved moved = send_all();
        fewest = std::min(fewest, moved.looks);
    }
    EXPECT_LT(fewest, 10u);
    expect_same();
}

// ext4 gives the number of an inode that has gone to the next one.
TEST_F(TreesTest, ADirectoryThatWasMadeAnewIsLookedInto) {
    fs::create_directory(here() / "d");
    write(here() / "d/x", "old");
    open();
    send_all();
    let_time_pass();
    for (int i = 0; i < 20; ++i) {
        fs::remove_all(here() / "d");
        fs::create_directory(here() / "d");
        write(here() / "d" / std::to_string(i), "new");
        send_all();
        write(here() / "d/later", std::to_string(i));
        send_all();
    }
    send_last();
    expect_same();
}

// As aio(7) writes: the times change, and inotify(7) says nothing.
TEST_F(TreesTest, WhatIsWrittenWithoutNoticeIsFoundInTheEnd) {
    write(here() / "mapped", std::string(kBlockBytes, 'a'));
    open();
    send_all();
    let_time_pass();
    send_all();
    const int file = ::open((here() / "mapped").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(file, 0);
    void* const mapped = ::mmap(nullptr, kBlockBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    static_cast<char*>(mapped)[0] = 'b';
    std::uint64_t bytes = 0;
    for (int i = 0; i < 10'000 && bytes == 0; ++i) {
        bytes = send_all().bytes;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_GT(bytes, 0u);
    ::munmap(mapped, kBlockBytes);
    ::close(file);
    expect_same();
}

TEST_F(TreesTest, ASingleFileIsATree) {
    write(here() / "hosts", "127.0.0.1");
    write(here() / "other", "not ours");
    write(there() / "neighbour", "stays");
    auto outgoing = Outgoing::open({{.path = (here() / "hosts").string(), .is_directory = false}});
    auto incoming = Incoming::open({{.path = (there() / "hosts").string(), .is_directory = false}});
    ASSERT_OK(outgoing);
    ASSERT_OK(incoming);
    ToIncoming to(*incoming);
    ASSERT_OK(outgoing->send_all(to));
    write(here() / "hosts", "127.0.0.2");
    write(here() / "third", "not ours");
    ASSERT_OK(outgoing->send_last(to, {}));
    EXPECT_EQ(read(there() / "hosts"), "127.0.0.2");
    EXPECT_EQ(read(there() / "neighbour"), "stays");
    EXPECT_FALSE(fs::exists(there() / "other"));
    EXPECT_FALSE(fs::exists(there() / "third"));
}

TEST_F(TreesTest, LinksDoNotLeadOut) {
    fs::create_directory(directory_ / "outside");
    fs::create_symlink("../outside", there() / "out");
    open();
    const auto sent = [&](Step step, const char* path) {
        Record record{.step = step, .tree = 0, .node = {}, .length = 5};
        record.node.path = path;
        record.node.kind = NodeKind::Fifo;
        Bytes frame;
        append_record(frame, record);
        return incoming_->apply(frame);
    };
    EXPECT_FALSE(sent(Step::Node, "out/x"));
    EXPECT_FALSE(sent(Step::Data, "out"));
    EXPECT_TRUE(fs::is_empty(directory_ / "outside"));
    Record far{.step = Step::Remove, .tree = 1, .node = {}};
    far.node.path = "x";
    Bytes frame;
    append_record(frame, far);
    EXPECT_FALSE(incoming_->apply(frame));
}

TEST_F(TreesTest, WhatHasNoRoomIsRefusedBeforeItIsSent) {
    open();
    Record huge{.step = Step::Node, .tree = 0, .node = {}, .allocated = 1ull << 43};
    huge.node.path = "huge";
    huge.node.size = 1ull << 43;
    Bytes frame;
    append_record(frame, huge);
    const auto offered = incoming_->offer(frame);
    ASSERT_FALSE(offered);
    EXPECT_EQ(offered.error().kind(), Error::Kind::Limit);
    EXPECT_THAT(offered.error().message(), testing::HasSubstr("no room for " + there().string()));
}

}  // namespace
}  // namespace ferry::files
