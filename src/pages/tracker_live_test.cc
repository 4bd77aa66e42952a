// Tracker, Reader and shared_with_parent() on forked children, one kernel behaviour each.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/cleanup.h"
#include "os/fd.h"
#include "pages/reader.h"
#include "pages/shared_with_parent.h"
#include "pages/tracked_child.h"
#include "pages/tracker.h"

namespace ferry::pages {
namespace {

constexpr int kMadvGuardInstall = 102;  // Linux 6.13
// Far from where the kernel puts mappings by itself.
char* const kArea = reinterpret_cast<char*>(std::uintptr_t{1} << 45);
constexpr std::size_t kAreaPages = 64;

AddrRange area(std::size_t first = 0, std::size_t count = kAreaPages) {
    const auto base = reinterpret_cast<std::uintptr_t>(kArea);
    return {RemoteAddr{base + first * kPageSize}, RemoteAddr{base + (first + count) * kPageSize}};
}

char* page(std::size_t number) {
    return kArea + number * kPageSize;
}

void map_area(std::size_t first = 0, std::size_t count = kAreaPages) {
    CHECK(::mmap(page(first), count * kPageSize, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page(first));
}

// Runs `set_up` in the child, lets the test register and protect the area, then runs `then`.
class Tracked {
  public:
    template <class SetUp, class Then>
    Tracked(SetUp set_up, Then then)
        : child_([=](Control& control) {
              set_up();
              control.step.store(1);
              control.wait_for_step(2);
              then();
              control.step.store(3);
          }),
          tracker_(child_.track().value()) {
        child_.control().wait_for_step(1);
    }
    Scan protect(Backing backing = Backing::Anonymous) {
        EXPECT_TRUE(tracker_.register_range(area(), backing).value());
        return tracker_.scan(area(), Protect::Yes).value();
    }
    void go_on() {
        child_.control().step.store(2);
        child_.control().wait_for_step(3);
    }
    Scan look() { return tracker_.scan(area(), Protect::No).value(); }
    Tracker& tracker() { return tracker_; }
    TrackedChild& child() { return child_; }

  private:
    TrackedChild child_;
    Tracker tracker_;
};

TEST(Tracker, SeesWritesOfTheProgramAndOfTheKernelAfterProtection) {
    Tracked child(
        [] {
            map_area();
            std::memset(page(0), 1, 20 * kPageSize);
        },
        [] {
            *page(3) = 2;
            const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
            CHECK(::read(zeros, page(7), 10) == 10);
            *page(40) = 1;
        });
    const Scan first = child.protect();
    EXPECT_EQ(first.present, (PageSet{area(0, 20)}));
    EXPECT_EQ(first.written, first.present);
    EXPECT_TRUE(child.look().written.empty());
    child.go_on();
    const Scan second = child.look();
    EXPECT_EQ(second.present, (PageSet{area(0, 20), area(40, 1)}));
    EXPECT_EQ(second.written, (PageSet{area(3, 1), area(7, 1), area(40, 1)}));
    EXPECT_EQ(child.protect().written, second.written);
    EXPECT_TRUE(child.protect().written.empty());
}

TEST(Tracker, DroppedPagesAreNotPresentAndReadPagesOfZerosAreNeither) {
    Tracked child(
        [] {
            map_area();
            std::memset(page(0), 1, 20 * kPageSize);
        },
        [] {
            CHECK(::madvise(page(5), 4 * kPageSize, MADV_DONTNEED) == 0);
            CHECK(*page(6) == 0);   // maps the zero page
            CHECK(*page(30) == 0);  // so does this
            *page(7) = 9;
        });
    child.protect();
    child.go_on();
    const Scan scan = child.look();
    EXPECT_EQ(scan.present, (PageSet{area(0, 5), area(7, 1), area(9, 11)}));
    EXPECT_EQ(scan.written, (PageSet{area(7, 1)}));
}

TEST(Tracker, ChangesAreTheSameForSeveralThreadsThatLookAtOnce) {
    Tracked child(
        [] {
            map_area();
            std::memset(page(0), 1, kAreaPages * kPageSize);
        },
        [] {
            *page(3) = 2;
            CHECK(::madvise(page(20), 4 * kPageSize, MADV_DONTNEED) == 0);
            CHECK(*page(21) == 0);  // maps the zero page
            *page(22) = 9;
            *page(kAreaPages - 1) = 2;
        });
    child.protect();
    child.go_on();
    const std::array all = {area()};
    const Changes whole = child.tracker().changes(all, Protect::No).value();
    EXPECT_EQ(whole.written, (PageSet{area(3, 1), area(22, 1), area(kAreaPages - 1, 1)}));
    EXPECT_EQ(whole.absent, (PageSet{area(20, 2), area(23, 1)}));
    std::array<PageSet, 4> written, absent;
    {
        std::vector<std::jthread> lookers;
        for (std::size_t i = 0; i < written.size(); ++i) {
            lookers.emplace_back([&, i] {
                const std::array part = {area(i * kAreaPages / 4, kAreaPages / 4)};
                for (int times = 0; times < 100; ++times) {
                    const auto found = child.tracker().changes(part, Protect::No);
                    ASSERT_TRUE(found) << found.error().describe();
                    written[i].add(found->written);
                    absent[i].add(found->absent);
                }
            });
        }
    }
    PageSet all_written, all_absent;
    for (const PageSet& part : written) all_written.add(part);
    for (const PageSet& part : absent) all_absent.add(part);
    EXPECT_EQ(all_written, whole.written);
    EXPECT_EQ(all_absent, whole.absent);
}

TEST(Tracker, OnlyOwnPagesOfAPrivateFileMappingCount) {
    const std::string path = "/tmp/ferry-tracker-test-" + std::to_string(::getpid());
    ASSERT_TRUE(os::write_file(os::kCwd, path, std::string(kAreaPages * kPageSize, 'x')));
    Tracked child(
        [&] {
            const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
            CHECK(::mmap(kArea, kAreaPages * kPageSize, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_FIXED, file, 0) == kArea);
            CHECK(*page(1) == 'x');
            *page(2) = 'y';
            *page(3) = 'y';
        },
        [] {
            // The kernel leaves a marker where a protected page was.
            CHECK(::madvise(page(3), kPageSize, MADV_DONTNEED) == 0);
            *page(4) = 'y';
        });
    EXPECT_EQ(child.protect(Backing::File).present, (PageSet{area(2, 2)}));
    child.go_on();
    const Scan scan = child.look();
    EXPECT_EQ(scan.present, (PageSet{area(2, 1), area(4, 1)}));
    EXPECT_EQ(scan.written, (PageSet{area(4, 1)}));
    ::unlink(path.c_str());
}

TEST(Tracker, GuardPagesAreReportedApartAndStayGuards) {
    Tracked child(
        [] {
            map_area();
            std::memset(page(0), 1, 4 * kPageSize);
            if (::madvise(page(1), kPageSize, kMadvGuardInstall) != 0) ::_exit(77);
        },
        [] {
            int ends[2];
            CHECK(::pipe2(ends, O_CLOEXEC) == 0);
            CHECK(::write(ends[1], page(1), 1) == -1);  // EFAULT: still a guard
        });
    const Scan scan = child.protect();
    EXPECT_EQ(scan.present, (PageSet{area(0, 1), area(2, 2)}));
    EXPECT_EQ(scan.guards, (PageSet{area(1, 1)}));
    child.go_on();
    EXPECT_EQ(child.protect().guards, (PageSet{area(1, 1)}));
}

TEST(Tracker, HugePagesAreSplitByTheFirstWriteOnly) {
    constexpr std::size_t kHugeBytes = 2 << 20;
    char* const huge = kArea;
    const AddrRange all = area(0, 2 * kHugeBytes / kPageSize);
    Tracked child(
        [=] {
            map_area(0, 2 * kHugeBytes / kPageSize);
            CHECK(::madvise(huge, 2 * kHugeBytes, MADV_HUGEPAGE) == 0);
            std::memset(huge, 1, 2 * kHugeBytes);
        },
        [=] { huge[kHugeBytes + 5 * kPageSize] = 2; });
    EXPECT_TRUE(child.tracker().register_range(all, Backing::Anonymous).value());
    EXPECT_EQ(child.tracker().scan(all, Protect::Yes).value().written, (PageSet{all}));
    child.go_on();
    const Scan scan = child.tracker().scan(all, Protect::No).value();
    EXPECT_EQ(scan.present, (PageSet{all}));
    EXPECT_EQ(scan.written, (PageSet{area(kHugeBytes / kPageSize + 5, 1)}));
}

TEST(Tracker, MovedMemoryIsWrittenOnceItIsRegisteredAgain) {
    Tracked child(
        [] {
            map_area(0, 32);
            std::memset(page(0), 1, 8 * kPageSize);
        },
        [] {
            CHECK(::mremap(page(0), 8 * kPageSize, 8 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED,
                           page(40)) == page(40));
        });
    child.protect();
    child.go_on();
    EXPECT_TRUE(child.tracker().scan(area(), Protect::Yes).value().present.empty());
    EXPECT_EQ(child.protect().written, (PageSet{area(40, 8)}));
}

// The kernel ends the tracking of a mapping that a moved one is joined with, and leaves its marks
// behind.
TEST(Tracker, WritesToANeighbourOfMovedMemoryAreNotLost) {
    Tracked child(
        [] {
            map_area(0, 32);
            std::memset(page(0), 1, 32 * kPageSize);
            CHECK(::mremap(page(8), 8 * kPageSize, 8 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED,
                           page(40)) == page(40));
        },
        [] {
            CHECK(::mremap(page(40), 8 * kPageSize, 8 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED,
                           page(8)) == page(8));
            *page(0) = 7;
            *page(31) = 7;
        });
    child.protect();
    child.go_on();
    const PageSet written = child.look().written;
    EXPECT_TRUE(written.contains(area(0).start));
    EXPECT_TRUE(written.contains(area(31).start));
    EXPECT_EQ(child.protect().written, written);
    EXPECT_TRUE(child.protect().written.empty());
}

TEST(Tracker, ItsEndRemovesTheProtection) {
    TrackedChild child([](Control& control) {
        map_area();
        std::memset(page(0), 1, 8 * kPageSize);
        control.step.store(1);
    });
    const auto flags = [&] {
        return os::read_file("/proc/" + std::to_string(child.pid().value) + "/smaps").value();
    };
    {
        Tracker tracker = child.track().value();
        child.control().wait_for_step(1);
        ASSERT_TRUE(tracker.register_range(area(), Backing::Anonymous));
        ASSERT_TRUE(tracker.scan(area(), Protect::Yes));
        EXPECT_NE(flags().find(" uw"), std::string::npos);
    }
    EXPECT_EQ(flags().find(" uw"), std::string::npos);
    const os::Pagemap pagemap = os::Pagemap::open(child.pid()).value();
    std::vector<os::PageRegion> regions(16);
    const auto reply = pagemap.scan({.range = area(),
                                     .all_of = os::page_is::kWritten,
                                     .any_of = os::page_is::kPresent,
                                     .absent = os::page_is::kWritten},
                                    regions);
    EXPECT_EQ(reply.value().regions, 0u);
}

TEST(Tracker, AProcessThatHasExitedIsGone) {
    Tracked child([] { map_area(); }, [] {});
    child.protect();
    child.child().kill_and_reap();
    const auto scan = child.tracker().scan(area(), Protect::Yes);
    ASSERT_FALSE(scan);
    EXPECT_EQ(scan.error().kind(), Error::Kind::Gone);
    const auto registered = child.tracker().register_range(area(), Backing::Anonymous);
    ASSERT_FALSE(registered);
    EXPECT_EQ(registered.error().kind(), Error::Kind::Gone);
}

TEST(Tracker, AnExecutedProgramIsNotTakenForTheOldOne) {
    TrackedChild child([](Control& control) {
        map_area();
        *page(1) = 1;
        control.step.store(1);
        control.wait_for_step(2);
        ::execl("/bin/sleep", "sleep", "60", nullptr);
        ::_exit(1);
    });
    Tracker tracker = child.track().value();
    child.control().wait_for_step(1);
    ASSERT_TRUE(tracker.register_range(area(), Backing::Anonymous));
    EXPECT_EQ(tracker.scan(area(), Protect::Yes).value().present.pages(), 1u);
    child.control().step.store(2);
    const std::string own = os::readlinkat(os::kCwd, "/proc/self/exe").value();
    const std::string link = "/proc/" + std::to_string(child.pid().value) + "/exe";
    while (os::readlinkat(os::kCwd, link).value() == own) ::usleep(1000);
    // The new program's own mappings cannot be tracked with the old descriptor.
    const std::string maps =
        os::read_file("/proc/" + std::to_string(child.pid().value) + "/maps").value();
    const AddrRange text = {RemoteAddr{std::stoull(maps, nullptr, 16)},
                            RemoteAddr{std::stoull(maps.substr(maps.find('-') + 1), nullptr, 16)}};
    const auto registered = tracker.register_range(text, Backing::Anonymous);
    ASSERT_FALSE(registered);
    EXPECT_EQ(registered.error().kind(), Error::Kind::Gone);
}

TEST(Tracker, ADescriptorThatIsNoUserfaultfdIsRefused) {
    const auto tracker = Tracker::start(Pid{::getpid()}, os::open("/dev/null", O_RDWR).value());
    EXPECT_FALSE(tracker);
}

// ---- reading
// ----------------------------------------------------------------------------------------

TEST(Reader, SortsIntoDataZerosAndMissing) {
    Tracked child(
        [] {
            map_area(0, 32);
            for (std::size_t i : {0u, 1u, 4u, 5u, 6u}) std::memset(page(i), 'a', kPageSize);
            page(2)[kPageSize / 2] = 1;
            std::memset(page(3), 0, kPageSize);
            CHECK(::mprotect(page(5), 2 * kPageSize, PROT_NONE) == 0);
        },
        [] {});
    Reader reader = Reader::open(child.child().pid()).value();
    std::vector<std::byte> buffer(Reader::kBatchBytes);
    PageBatch batch;
    const std::vector<PageRun> runs = {area(0, 2), area(2, 6), area(31, 3), area(50, 1)};
    const Result<> read = reader.read(runs, buffer, batch);
    ASSERT_TRUE(read) << read.error().describe();
    PageSet data;
    for (const PagePiece& piece : batch.data) {
        ASSERT_EQ(piece.bytes.size(), piece.run.size());
        data.add(piece.run);
        for (std::size_t i = 0; i < piece.run.pages(); ++i) {
            const bool sparse = piece.run.start + i * kPageSize == area(2).start;
            EXPECT_EQ(piece.bytes[i * kPageSize + kPageSize / 2], std::byte(sparse ? 1 : 'a'));
        }
    }
    EXPECT_EQ(data, (PageSet{area(0, 3), area(4, 3)}));
    EXPECT_EQ(batch.zeros, (PageSet{area(3, 1), area(7, 1), area(31, 1)}));
    EXPECT_EQ(batch.missing, (PageSet{area(32, 2), area(50, 1)}));
    EXPECT_EQ(batch.data_bytes, data.bytes());
}

TEST(Reader, AProcessThatHasExitedIsGone) {
    Tracked child([] { map_area(); }, [] {});
    Reader reader = Reader::open(child.child().pid()).value();
    child.child().kill_and_reap();
    std::vector<std::byte> buffer(kPageSize);
    PageBatch batch;
    const std::vector<PageRun> runs = {area(0, 1)};
    const Result<> read = reader.read(runs, buffer, batch);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind(), Error::Kind::Gone);
}

TEST(Reader, FindsTheOneByteThatIsNotZero) {
    std::vector<std::byte> memory(kPageSize);
    const auto as_page = std::span<const std::byte>(memory).first<kPageSize>();
    EXPECT_TRUE(is_zero_page(as_page));
    for (std::size_t i = 0; i < kPageSize; ++i) {
        memory[i] = std::byte{1};
        EXPECT_FALSE(is_zero_page(as_page)) << i;
        memory[i] = std::byte{0};
    }
}

// ---- sharing
// ----------------------------------------------------------------------------------------

TEST(SharedWithParent, FindsWhatForkSharesAndNothingElse) {
    map_area();
    const Cleanup unmap = [] { ::munmap(kArea, kAreaPages * kPageSize); };
    std::memset(page(0), 1, 32 * kPageSize);
    CHECK(*page(40) == 0);  // the zero page, in both
    Tracked child([] { *page(3) = 2; }, [] {});
    *page(5) = 3;
    const PageSet present = child.look().present;
    EXPECT_EQ(present, (PageSet{area(0, 32)}));
    const auto shared = shared_with_parent(child.child().pid(), Pid{::getpid()}, present);
    ASSERT_TRUE(shared) << shared.error().describe();
    EXPECT_EQ(*shared, (PageSet{area(0, 3), area(4, 1), area(6, 26)}));
}

}  // namespace
}  // namespace ferry::pages
