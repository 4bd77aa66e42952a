#include "pages/shared_object.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <optional>
#include <vector>

#include "os/fd.h"
#include "os/memory.h"
#include "pages/held_pages.h"

namespace ferry::pages {
namespace {

constexpr std::uint64_t kPages = 1000;
constexpr std::uint64_t kBytes = kPages * kPageSize;

PageRun run(std::uint64_t first, std::uint64_t end) {
    return {RemoteAddr{first * kPageSize}, RemoteAddr{end * kPageSize}};
}

// An object, and a far end that is filled with what a look hands out.
class SharedObjects : public testing::Test {
  protected:
    void SetUp() override {
        auto made = os::memfd_create("object", MFD_CLOEXEC);
        ASSERT_TRUE(made.has_value());
        file_ = made->get();
        ASSERT_TRUE(os::ftruncate(file_, kBytes).has_value());
        object_.emplace(std::move(*made));
    }
    void write(std::uint64_t page, char byte) const {
        const std::vector<std::byte> content(kPageSize, static_cast<std::byte>(byte));
        ASSERT_TRUE(os::pwrite_all(file_, content, page * kPageSize).has_value());
    }
    void punch(std::uint64_t page) const {
        ASSERT_TRUE(os::punch_hole(file_, page * kPageSize, kPageSize).has_value());
    }
    // The pages that crossed.
    PageSet cross() {
        PageSet crossed;
        const auto taken =
            object_->take_changed(everything(), buffer_, [&](const PageBatch& batch) -> Result<> {
                for (const PagePiece& piece : batch.data) {
                    std::memcpy(far_.data() + piece.run.start.value, piece.bytes.data(),
                                piece.bytes.size());
                    crossed.add(piece.run);
                }
                for (const PageRun& zeros : batch.zeros.runs()) {
                    std::memset(far_.data() + zeros.start.value, 0, zeros.size());
                    crossed.add(zeros);
                }
                return {};
            });
        EXPECT_TRUE(taken.has_value());
        return crossed;
    }
    [[nodiscard]] PageSet everything() const {
        const auto data = find_data(file_, kBytes);
        EXPECT_TRUE(data.has_value());
        return unite(*data, object_->taken());
    }
    void expect_same() const {
        std::vector<std::byte> near(kBytes);
        ASSERT_TRUE(os::pread_all(file_, near, 0).has_value());
        EXPECT_TRUE(near == far_);
    }

    int file_ = -1;
    std::optional<SharedObject> object_;
    std::vector<std::byte> far_ = std::vector<std::byte>(kBytes);
    std::vector<std::byte> buffer_ = std::vector<std::byte>(7 * kPageSize);
};

TEST_F(SharedObjects, HandOutWhatTheyHoldOnce) {
    write(3, 'a');
    write(4, 'b');
    write(999, 'c');
    EXPECT_EQ(cross(), (PageSet{run(3, 5), run(999, 1000)}));
    expect_same();
    EXPECT_EQ(cross(), PageSet{});
}

TEST_F(SharedObjects, HandOutOnlyWhatHasChanged) {
    for (std::uint64_t page = 100; page < 700; ++page) write(page, static_cast<char>(page % 100));
    cross();
    write(150, 'x');
    write(650, static_cast<char>(650 % 100));  // the same again
    EXPECT_EQ(object_->find_changed(everything()), PageSet{run(150, 151)});
    EXPECT_EQ(cross(), PageSet{run(150, 151)});
    expect_same();
}

TEST_F(SharedObjects, PagesOfZerosDoNotCrossUnlessTheyReplaceSomething) {
    write(5, 0);
    EXPECT_EQ(cross(), PageSet{});
    write(5, 'a');
    write(6, 'b');
    cross();
    write(5, 0);
    punch(6);
    EXPECT_EQ(object_->find_changed(everything()), PageSet{run(5, 7)});
    EXPECT_EQ(cross(), PageSet{run(5, 7)});
    expect_same();
    EXPECT_EQ(cross(), PageSet{});
}

// What no page table shows: thrown away and filled anew with something else.
TEST_F(SharedObjects, APageThatWasPunchedAndFilledAgainCrosses) {
    write(8, 'a');
    cross();
    punch(8);
    write(8, 'b');
    EXPECT_EQ(cross(), PageSet{run(8, 9)});
    expect_same();
}

TEST_F(SharedObjects, ReadingMakesNoPages) {
    write(500, 'a');
    cross();
    const auto data = find_data(file_, kBytes);
    ASSERT_TRUE(data.has_value());
    EXPECT_EQ(*data, PageSet{run(500, 501)});
}

TEST_F(SharedObjects, AnObjectThatWasCutShortIsZerosBehindItsEnd) {
    write(2, 'a');
    write(900, 'b');
    cross();
    ASSERT_TRUE(os::ftruncate(file_, 10 * kPageSize).has_value());
    EXPECT_EQ(cross(), PageSet{run(900, 901)});
    ASSERT_TRUE(os::ftruncate(file_, kBytes).has_value());
    expect_same();
}

class HeldPagesTest : public SharedObjects {
  protected:
    [[nodiscard]] PageSet lost() const {
        const auto data = find_data(file_, kBytes);
        const auto lost = held_.find_lost(*data);
        EXPECT_TRUE(lost.has_value());
        return *lost;
    }
    void hold(const PageSet& pages) { ASSERT_TRUE(held_.hold(file_, kBytes, pages).has_value()); }
    HeldPages held_;
};

TEST_F(HeldPagesTest, ShowWhatWasThrownAwayAndFilledAgainByReading) {
    for (std::uint64_t page = 0; page < 200; ++page) write(page, 'a');
    EXPECT_EQ(lost(), PageSet{run(0, 200)});
    hold(lost());
    EXPECT_EQ(lost(), PageSet{});
    punch(100);
    auto mapped = os::Mapping::map(kBytes, PROT_READ, MAP_SHARED, file_);
    ASSERT_TRUE(mapped.has_value());
    EXPECT_EQ(mapped->data()[100 * kPageSize], std::byte{0});
    EXPECT_TRUE(lost().contains(RemoteAddr{100 * kPageSize}));
    EXPECT_LE(lost().pages(), 16u);
    hold(lost());
    EXPECT_EQ(lost(), PageSet{});
}

// The kernel enters neighbours of a page that is held anew.
TEST_F(HeldPagesTest, ShowWhatWasThrownAwayBetweenNamingAndHolding) {
    for (std::uint64_t page = 0; page < 200; ++page) write(page, 'a');
    hold(lost());
    for (std::uint64_t other = 80; other < 120; ++other) {
        if (other == 100) continue;
        punch(100);
        write(100, 'b');
        const PageSet named = lost();
        EXPECT_TRUE(named.contains(RemoteAddr{100 * kPageSize}));
        punch(other);
        write(other, 'b');
        hold(named);
        const RemoteAddr at{other * kPageSize};
        EXPECT_TRUE(named.contains(at) || lost().contains(at)) << other;
        hold(lost());
    }
}

TEST_F(HeldPagesTest, BearAnObjectThatGrowsAndShrinks) {
    write(10, 'a');
    hold(lost());
    ASSERT_TRUE(os::ftruncate(file_, kBytes / 2).has_value());
    write(20, 'b');
    EXPECT_TRUE(lost().contains(RemoteAddr{20 * kPageSize}));
    hold({run(0, kPages)});
    ASSERT_TRUE(os::ftruncate(file_, 2 * kBytes).has_value());
    ASSERT_TRUE(held_.hold(file_, 2 * kBytes, {run(10, 11)}).has_value());
    // A larger mapping has other blocks: nothing is held before it was named.
    EXPECT_TRUE(lost().contains(RemoteAddr{10 * kPageSize}));
    ASSERT_TRUE(held_.hold(file_, 2 * kBytes, lost()).has_value());
    EXPECT_FALSE(lost().contains(RemoteAddr{10 * kPageSize}));
}

}  // namespace
}  // namespace ferry::pages
