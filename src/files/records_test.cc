#include "files/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ferry::files {
namespace {

Record node(std::string path, NodeKind kind) {
    Record record{.step = Step::Node, .tree = 3, .node = {}};
    record.node.path = std::move(path);
    record.node.kind = kind;
    return record;
}

Result<Record> through_the_wire(const Record& record) {
    Bytes frame;
    append_record(frame, record);
    RecordReader reader(frame);
    auto read = TRY(reader.next());
    if (!read || TRY(reader.next())) return fail(Error::corrupt("not one record"));
    read->bytes = {};  // of the frame
    return *read;
}

TEST(Records, BringANodeWithEverything) {
    Record sent = node("var/lib/a", NodeKind::File);
    sent.node.mode = 04751;
    sent.node.user = 70'000'000;
    sent.node.modified = {1'700'000'000, 999'999'999};
    sent.node.accessed = {-1, 1};
    sent.node.size = 1ull << 40;
    sent.node.attributes = {{"security.capability", std::string("\1\0\2", 3)}, {"user.a", ""}};
    sent.allocated = 4096;
    const auto read = through_the_wire(sent);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->tree, 3u);
    EXPECT_EQ(read->node.path, sent.node.path);
    EXPECT_EQ(read->node.mode, sent.node.mode);
    EXPECT_EQ(read->node.user, sent.node.user);
    EXPECT_EQ(read->node.modified.tv_nsec, sent.node.modified.tv_nsec);
    EXPECT_EQ(read->node.accessed.tv_sec, -1);
    EXPECT_EQ(read->node.size, sent.node.size);
    EXPECT_EQ(read->node.attributes, sent.node.attributes);
    EXPECT_EQ(read->allocated, 4096u);
}

TEST(Records, RefuseNamesThatLeadOut) {
    for (const char* path : {"", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/."}) {
        EXPECT_FALSE(through_the_wire(node(path, NodeKind::File))) << path;
        Record link = node("a", NodeKind::HardLink);
        link.node.target = path;
        EXPECT_FALSE(through_the_wire(link)) << path;
        Record move{.step = Step::Move, .tree = 0, .node = {}};
        move.node.path = "a";
        move.node.target = path;
        EXPECT_FALSE(through_the_wire(move)) << path;
        Record gone{.step = Step::Remove, .tree = 0, .node = {}};
        gone.node.path = path;
        EXPECT_FALSE(through_the_wire(gone)) << path;
    }
    EXPECT_FALSE(through_the_wire(node(std::string("a\0b", 3), NodeKind::File)));
    EXPECT_FALSE(through_the_wire(node(".", NodeKind::File)));
    EXPECT_TRUE(through_the_wire(node(".", NodeKind::Directory)));
    EXPECT_TRUE(through_the_wire(node("..a/...", NodeKind::File)));
}

TEST(Records, RefuseSizesBeyondAnyFile) {
    Record large = node("a", NodeKind::File);
    large.node.size = ~0ull;
    EXPECT_FALSE(through_the_wire(large));
    Record hole{.step = Step::Hole, .tree = 0, .node = {}, .offset = ~0ull, .length = 1};
    hole.node.path = "a";
    EXPECT_FALSE(through_the_wire(hole));
}

TEST(Records, EndWhereTheFrameDoes) {
    Record data{.step = Step::Data, .tree = 0, .node = {}, .offset = 5};
    data.node.path = "a";
    const Bytes content(100, std::byte{7});
    data.bytes = content;
    Bytes frame;
    append_record(frame, data);
    for (std::size_t size = 1; size < frame.size(); ++size) {
        EXPECT_FALSE(RecordReader(std::span(frame).first(size)).next()) << size;
    }
    const auto whole = RecordReader(frame).next();
    ASSERT_TRUE(whole && *whole);
    EXPECT_THAT((*whole)->bytes, testing::ElementsAreArray(content));
}

TEST(Records, BringWhatIsWanted) {
    const std::vector<Wanted> wanted = {{.index = 7, .digests = {{1, 2}, {}}},
                                        {.index = 9, .digests = {}}};
    const Bytes frame = encode(wanted);
    const auto read = decode_wanted(frame);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, wanted);
    EXPECT_FALSE(decode_wanted(std::span(frame).first(frame.size() - 1)));
}

}  // namespace
}  // namespace ferry::files
