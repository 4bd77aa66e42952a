// The walks over a made-up address space.
#include "pages/scan_walk.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <thread>

namespace ferry::pages {
namespace {

using namespace os::page_is;

PageRun run(std::uint64_t first, std::uint64_t end) {
    return {RemoteAddr{first * kPageSize}, RemoteAddr{end * kPageSize}};
}

constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kEntrySwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kEntryFile = std::uint64_t{1} << 61;
constexpr std::uint64_t kEntrySoftDirty = std::uint64_t{1} << 55;
constexpr std::uint64_t kMarkerType = 0x1f;

// Pages by number, with the categories and the array entry that a kernel would show.
struct FakeKernel {
    struct Page {
        std::uint64_t categories = 0;
        std::uint64_t entry = 0;
    };
    std::map<std::uint64_t, Page> pages;
    std::size_t regions_per_call = 1000;
    std::vector<AddrRange> asked;
    bool protects = false;
    std::chrono::microseconds takes{0};

    ScanCall scan_call() {
        return [this](const os::PagemapScanRequest& request,
                      std::span<os::PageRegion> into) -> Result<os::PagemapScanReply> {
            asked.push_back(request.range);
            protects = request.protect_matching;
            std::this_thread::sleep_for(takes);
            const std::size_t room = std::min(into.size(), regions_per_call);
            os::PagemapScanReply reply = {.regions = 0, .walked_to = request.range.end};
            for (auto& [number, page] : pages) {
                const std::uint64_t at = number * kPageSize;
                if (at < request.range.start.value || at >= request.range.end.value) continue;
                const std::uint64_t shown = page.categories & request.return_mask;
                const std::uint64_t has = page.categories ^ request.absent;
                if ((has & request.all_of) != request.all_of) continue;
                if (request.any_of != 0 && (has & request.any_of) == 0) continue;
                os::PageRegion* last = reply.regions > 0 ? &into[reply.regions - 1] : nullptr;
                if (last != nullptr && last->end == at && last->categories == shown) {
                    last->end = at + kPageSize;
                } else if (reply.regions == room) {
                    reply.walked_to = RemoteAddr{at};
                    return reply;
                } else {
                    into[reply.regions++] = {
                        .start = at, .end = at + kPageSize, .categories = shown};
                }
                if (request.protect_matching) page.categories &= ~kWritten;
            }
            return reply;
        };
    }
    EntriesCall entries_call() {
        return [this](RemoteAddr start, std::span<os::PagemapEntry> into) -> Result<std::size_t> {
            for (std::size_t i = 0; i < into.size(); ++i) {
                const auto page = pages.find(start.value / kPageSize + i);
                into[i].raw = page == pages.end() ? 0 : page->second.entry;
            }
            return into.size();
        };
    }
    Scan scan(AddrRange range, Protect protect = Protect::Yes, Backing backing = Backing::File) {
        Scan result;
        EXPECT_TRUE(scan_protected(scan_call(), entries_call(), range, backing, protect, result));
        return result;
    }
};

TEST(ScanProtected, SortsPagesByWhatTheyAre) {
    FakeKernel kernel;
    kernel.pages = {{10, {kWpAllowed | kPresent | kWritten}},
                    {11, {kWpAllowed | kPresent}},
                    {12, {kWpAllowed | kPresent | kWritten | kZeroFrame}},
                    {13, {kWpAllowed | kPresent | kFile}},
                    {14, {kWpAllowed | kSwapped | kWritten, kEntrySwapped}},
                    {15, {kWpAllowed | kSwapped, kEntrySwapped | kMarkerType | 1 << 5}},
                    {16, {kWpAllowed | kSwapped | kWritten, kEntrySwapped | kMarkerType | 4 << 5}}};
    const Scan scan = kernel.scan(run(0, 100));
    EXPECT_EQ(scan.present, (PageSet{run(10, 12), run(14, 15)}));
    EXPECT_EQ(scan.written, (PageSet{run(10, 11), run(14, 15)}));
    EXPECT_EQ(scan.guards, (PageSet{run(16, 17)}));
    EXPECT_TRUE(kernel.protects);
    EXPECT_TRUE(kernel.scan(run(0, 100)).written.empty());
}

TEST(ScanProtected, BelievesNoMarkInAMappingThatIsNotRegistered) {
    FakeKernel kernel;
    kernel.pages = {{10, {kPresent}}, {11, {kPresent | kWpAllowed}}};
    const Scan scan = kernel.scan(run(0, 100), Protect::No);
    EXPECT_EQ(scan.written, (PageSet{run(10, 11)}));
}

TEST(FindChanges, ReportsWhatIsNotAsItWas) {
    FakeKernel kernel;
    kernel.pages = {{10, {kWpAllowed | kPresent | kWritten}},
                    {11, {kWpAllowed | kPresent}},
                    {12, {kWpAllowed | kPresent | kWritten | kZeroFrame}},
                    {13, {kWpAllowed | kPresent | kWritten | kFile}},
                    {14, {kWpAllowed | kSwapped | kWritten, kEntrySwapped}},
                    {15, {kWpAllowed | kSwapped, kEntrySwapped}},
                    {16, {kWpAllowed | kSwapped, kEntrySwapped | kMarkerType | 1 << 5}},
                    {17, {kWpAllowed | kSwapped | kWritten, kEntrySwapped | kMarkerType | 4 << 5}},
                    {18, {kWpAllowed}},
                    {19, {kWpAllowed | kPresent | kWritten}}};
    for (const Protect protect : {Protect::No, Protect::Yes}) {
        Changes changes;
        ASSERT_TRUE(find_changes(kernel.scan_call(), kernel.entries_call(), run(0, 100),
                                 Backing::File, protect, changes));
        EXPECT_EQ(changes.written, (PageSet{run(10, 11), run(14, 15), run(19, 20)}));
        EXPECT_EQ(changes.absent, (PageSet{run(12, 14), run(16, 19)}));
        EXPECT_EQ(changes.guards, (PageSet{run(17, 18)}));
    }
    EXPECT_EQ(kernel.pages[18].categories, kWpAllowed) << "what is not there gets no mark";
    Changes again;
    ASSERT_TRUE(find_changes(kernel.scan_call(), kernel.entries_call(), run(0, 100), Backing::File,
                             Protect::No, again));
    EXPECT_TRUE(again.written.empty());
}

TEST(FindChanges, BelievesNoMarkInAMappingThatIsNotRegistered) {
    FakeKernel kernel;
    kernel.pages = {{10, {kPresent}}, {11, {kPresent | kWpAllowed}}, {12, {0}}};
    Changes changes;
    ASSERT_TRUE(find_changes(kernel.scan_call(), kernel.entries_call(), run(0, 100), Backing::File,
                             Protect::No, changes));
    EXPECT_EQ(changes.written, (PageSet{run(10, 11)}));
    EXPECT_EQ(changes.absent, (PageSet{run(12, 13)}));
}

TEST(FindPages, TellsUnregisteredAndProtectedOnesApart) {
    FakeKernel kernel;
    kernel.pages = {{10, {kPresent | kWritten}},
                    {11, {kPresent | kWpAllowed}},
                    {12, {kPresent | kWpAllowed | kWritten}},
                    {13, {kSwapped}}};
    EXPECT_EQ(find_unregistered(kernel.scan_call(), run(0, 100)).value(),
              (PageSet{run(10, 11), run(13, 14)}));
    EXPECT_EQ(find_protected(kernel.scan_call(), run(0, 100)).value(),
              (PageSet{run(11, 12), run(13, 14)}));
}

TEST(ScanProtected, GoesOnWhereAFullBufferStoppedTheKernel) {
    FakeKernel kernel;
    PageSet expected;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        kernel.pages[i] = {(i % 3 == 0 ? kPresent : kPresent | kWritten) | kWpAllowed};
        if (i % 3 != 0) expected.add(run(i, i + 1));
    }
    kernel.regions_per_call = 7;
    const Scan scan = kernel.scan(run(0, 1000));
    EXPECT_EQ(scan.present, (PageSet{run(0, 1000)}));
    EXPECT_EQ(scan.written, expected);
    EXPECT_GT(kernel.asked.size(), 90u);
}

TEST(ScanProtected, AsksInChunksWhereTheKernelTakesItsTime) {
    FakeKernel kernel;
    kernel.takes = 2 * kScanQuick;
    const std::uint64_t pages = 3 * kScanChunkBytes / kPageSize + 5;
    kernel.scan(run(0, pages), Protect::No);
    ASSERT_EQ(kernel.asked.size(), 4u);
    for (const AddrRange& range : kernel.asked) EXPECT_LE(range.size(), kScanChunkBytes);
    EXPECT_EQ(kernel.asked.back(), run(pages - 5, pages));
    EXPECT_FALSE(kernel.protects);
}

TEST(ScanProtected, GoesThroughTerabytesWithoutPagesInFewSteps) {
    FakeKernel kernel;
    const std::uint64_t pages = (std::uint64_t{8} << 40) / kPageSize;
    kernel.pages[pages - 3] = {kPresent | kWritten | kWpAllowed};
    EXPECT_EQ(kernel.scan(run(0, pages)).written, (PageSet{run(pages - 3, pages - 2)}));
    EXPECT_LT(kernel.asked.size(), 1000u);
    RemoteAddr at = kernel.asked.front().start;
    for (const AddrRange& range : kernel.asked) {
        EXPECT_EQ(range.start, at);
        EXPECT_LE(range.size(), kScanChunkBytesMax);
        at = range.end;
    }
    EXPECT_EQ(at, run(0, pages).end);
}

TEST(ScanProtected, AFailureOfTheKernelIsReported) {
    const ScanCall failing = [](const auto&, auto) -> Result<os::PagemapScanReply> {
        return fail(Error::system(ENOMEM, "scan"));
    };
    FakeKernel kernel;
    Scan scan;
    EXPECT_FALSE(scan_protected(failing, kernel.entries_call(), run(0, 4), Backing::File,
                                Protect::No, scan));
}

TEST(FindGuards, TellsThemFromOtherMarkers) {
    FakeKernel kernel;
    kernel.pages = {{10, {kPresent | kFile}},
                    {11, {kSwapped, kEntrySwapped | kMarkerType | 4 << 5}},
                    {12, {kSwapped, kEntrySwapped | kMarkerType | 1 << 5}},
                    {13, {kSwapped, kEntrySwapped}},
                    {14, {kSwapped, kEntrySwapped | kMarkerType | 4 << 5}},
                    {15, {kSwapped, kEntrySwapped | kMarkerType | 4 << 5}}};
    PageSet found;
    ASSERT_TRUE(find_guards(kernel.scan_call(), kernel.entries_call(), run(0, 15), found));
    EXPECT_EQ(found, (PageSet{run(11, 12), run(14, 15)}));
    EXPECT_FALSE(kernel.protects);
}

TEST(ScanSoftDirty, TakesWrittenFromTheSoftDirtyBit) {
    FakeKernel kernel;
    kernel.pages = {{10, {0, kEntryPresent | kEntrySoftDirty}},
                    {11, {0, kEntryPresent}},
                    {12, {0, kEntryPresent | kEntryFile | kEntrySoftDirty}},
                    {13, {0, kEntrySwapped | kEntrySoftDirty}},
                    {14, {0, kEntrySwapped | kMarkerType | 4 << 5}},
                    {900, {0, kEntryPresent | kEntrySoftDirty}}};
    Scan scan;
    ASSERT_TRUE(scan_soft_dirty(kernel.entries_call(), run(0, 1000), scan));
    EXPECT_EQ(scan.present, (PageSet{run(10, 12), run(13, 14), run(900, 901)}));
    EXPECT_EQ(scan.written, (PageSet{run(10, 11), run(13, 14), run(900, 901)}));
    EXPECT_EQ(scan.guards, (PageSet{run(14, 15)}));
}

}  // namespace
}  // namespace ferry::pages
