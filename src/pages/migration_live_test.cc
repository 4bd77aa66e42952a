// The property that live migration stands on: a copy kept by the rules of pages/tracker.h equals
// the process's memory once it stands still, whatever it did meanwhile. The child does its worst:
// random writes by two threads and by the kernel, dropped, remapped, moved, growing, forked, huge,
// guarded and file memory. FERRY_PAGES_SOAK=n makes each run n times as long.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "os/fd.h"
#include "pages/reader.h"
#include "pages/tracked_child.h"
#include "pages/tracker.h"
#include "proc/maps.h"

namespace ferry::pages {
namespace {

using Page = std::array<std::byte, kPageSize>;

constexpr int kMadvCollapse = 25;       // Linux 6.1
constexpr int kMadvGuardInstall = 102;  // Linux 6.13
constexpr int kMadvGuardRemove = 103;
constexpr std::size_t kHuge = 2 << 20;
constexpr std::size_t kSlotPages = 512;  // 2 MiB
constexpr std::size_t kSlots = 12;
// Far from where the kernel puts mappings by itself, so that nothing else comes to lie where a slot
// was.
constexpr std::uintptr_t kSlotsBase = std::uintptr_t{1} << 45;

// ---- the child
// --------------------------------------------------------------------------------------

// Everything the writer does goes to memory that it knows to be mapped and writable at that moment.
class Writer {
  public:
    Writer(unsigned seed, Control& control) : random_(seed), control_(control) {
        path_ = "/tmp/ferry-pages-" + std::to_string(::getpid());
        file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CHECK(file_ >= 0);
        const std::vector<char> content(kSlotPages * kPageSize, 'f');
        CHECK(::write(file_, content.data(), content.size()) ==
              static_cast<ssize_t>(content.size()));
        for (std::size_t slot = 0; slot < kSlots; ++slot) {
            places_[slot] = slot;
            map_slot(slot);
        }
    }

    // The other thread's own memory: nobody else changes its mappings.
    void write_beside() {
        void* memory = ::mmap(nullptr, kSlotPages * kPageSize, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED);
        auto* words = static_cast<volatile std::uint64_t*>(memory);
        std::minstd_rand random(1);
        for (std::uint64_t sequence = 1;; ++sequence) {
            words[random() % (kSlotPages * kPageSize / 8)] = sequence;
            if (sequence % 64 == 0) std::this_thread::yield();
        }
    }

    void run() {
        while (!control_.stop.load()) {
            step();
            control_.operations.fetch_add(1);
        }
        ::unlink(path_.c_str());
    }

  private:
    std::uint64_t below(std::uint64_t n) { return random_() % n; }
    // Slot numbers are places' contents: a slot's memory may be at its own or at its spare place.
    [[nodiscard]] std::byte* at(std::size_t slot, std::size_t page = 0) const {
        return reinterpret_cast<std::byte*>(kSlotsBase + places_[slot] * kSlotPages * kPageSize +
                                            page * kPageSize);
    }
    static bool is_file(std::size_t slot) { return slot == 1 || slot == 2; }
    static bool is_huge(std::size_t slot) { return slot >= 9; }

    void map_slot(std::size_t slot) {
        const int flags = MAP_PRIVATE | MAP_FIXED | (is_file(slot) ? 0 : MAP_ANONYMOUS);
        CHECK(::mmap(at(slot), kSlotPages * kPageSize, PROT_READ | PROT_WRITE, flags,
                     is_file(slot) ? file_ : -1, 0) == at(slot));
        if (is_huge(slot)) ::madvise(at(slot), kSlotPages * kPageSize, MADV_HUGEPAGE);
    }

    void write_word(std::size_t slot) {
        const std::uint64_t value = below(5) == 0 ? 0 : ++sequence_;
        std::memcpy(at(slot, below(kSlotPages)) + below(kPageSize / 8) * 8, &value, 8);
    }

    void step() {
        const std::size_t slot = below(kSlots);
        const std::size_t first = below(kSlotPages);
        const std::size_t count = 1 + below(std::min<std::size_t>(kSlotPages - first, 40));
        std::byte* memory = at(slot, first);
        const std::size_t bytes = count * kPageSize;
        switch (below(400)) {
            case 0:
                CHECK(::madvise(memory, bytes, MADV_DONTNEED) == 0);
                break;
            case 1:
                ::madvise(memory, bytes, MADV_FREE);
                break;
            case 2:
                std::memset(memory, 0, bytes);
                break;
            case 3:
                map_slot(slot);
                break;
            case 4:
                move(slot);
                break;
            case 5:
                grow_and_shrink(slot);
                break;
            case 6:
                protect(memory, bytes);
                break;
            case 7:
                heap();
                break;
            case 8:
                fork_and_write(slot);
                break;
            case 9:
                ::madvise(at(slot), kSlotPages * kPageSize, kMadvCollapse);
                break;
            case 10:
                guard(slot, memory, bytes);
                break;
            case 11:
                kernel_writes(memory, bytes);
                break;
            case 12:
                std::memset(at(slot), static_cast<int>(below(256)), kHuge);
                break;
            case 13:
                ::madvise(memory, bytes, MADV_POPULATE_READ);
                break;
            case 14:
                unmap_and_map(slot, memory, bytes);
                break;
            case 15:
                move_pages_over(slot, first, count);
                break;
            default:
                write_word(slot);
                break;
        }
    }

    void move(std::size_t slot) {
        const std::size_t other = places_[slot] < kSlots ? slot + kSlots : slot;
        std::byte* from = at(slot);
        const std::size_t old = std::exchange(places_[slot], other);
        const std::size_t bytes = kSlotPages * kPageSize;
        if (::mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at(slot)) == MAP_FAILED) {
            // Of several mappings the first ones may have been moved before one could not be.
            CHECK(::munmap(at(slot), bytes) == 0);
            places_[slot] = old;
            map_slot(slot);
        }
    }

    // Moves some pages over others of the same kind and maps the place they came from anew.
    void move_pages_over(std::size_t slot, std::size_t first, std::size_t count) {
        const std::size_t target = below(kSlotPages - count + 1);
        if (is_file(slot) || (target < first + count && first < target + count)) return;
        const std::size_t bytes = count * kPageSize;
        if (::mremap(at(slot, first), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                     at(slot, target)) == MAP_FAILED) {
            // Of several mappings the first ones may have been moved before one could not be.
            map_pages(at(slot, target), bytes);
            map_pages(at(slot, first), bytes);
            return;
        }
        map_pages(at(slot, first), bytes);
    }

    void unmap_and_map(std::size_t slot, std::byte* memory, std::size_t bytes) {
        if (is_file(slot)) return;
        CHECK(::munmap(memory, bytes) == 0);
        if (below(2) == 0) ::usleep(static_cast<useconds_t>(below(300)));
        map_pages(memory, bytes);
    }

    static void map_pages(std::byte* memory, std::size_t bytes) {
        CHECK(::mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                     -1, 0) == memory);
    }

    void grow_and_shrink(std::size_t slot) {
        if (slot + 1 != kSlots || places_[slot] != slot + kSlots) return;
        const std::size_t bytes = kSlotPages * kPageSize;
        if (::mremap(at(slot), bytes, 2 * bytes, 0) == MAP_FAILED) return;
        std::memset(at(slot) + bytes, 0x77, bytes / 4);
        CHECK(::munmap(at(slot) + bytes, bytes) == 0);
    }

    void protect(std::byte* memory, std::size_t bytes) {
        static constexpr std::array<int, 2> kLess = {PROT_NONE, PROT_READ};
        CHECK(::mprotect(memory, bytes, kLess[below(2)]) == 0);
        if (below(2) == 0) ::usleep(static_cast<useconds_t>(below(500)));
        CHECK(::mprotect(memory, bytes, PROT_READ | PROT_WRITE) == 0);
    }

    void heap() {
        if (heap_pages_ < 400 && below(3) != 0) {
            const std::size_t pages = 1 + below(30);
            void* added = ::sbrk(static_cast<intptr_t>(pages * kPageSize));
            CHECK(added != reinterpret_cast<void*>(-1));
            std::memset(added, static_cast<int>(below(256)), pages * kPageSize);
            heap_pages_ += pages;
        } else if (heap_pages_ > 0) {
            const std::size_t pages = 1 + below(heap_pages_);
            ::sbrk(-static_cast<intptr_t>(pages * kPageSize));
            heap_pages_ -= pages;
        }
    }

    // The parent writes while a child shares its pages; only the parent is tracked here.
    void fork_and_write(std::size_t slot) {
        const pid_t child = ::fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int i = 0; i < 50; ++i) write_word(slot);
            ::_exit(0);
        }
        for (int i = 0; i < 50; ++i) write_word(slot);
        while (::waitpid(child, nullptr, 0) != child) {
        }
    }

    // Not on file mappings: see pages/tracker.h.
    void guard(std::size_t slot, std::byte* memory, std::size_t bytes) {
        if (is_file(slot)) return;
        if (::madvise(memory, bytes, kMadvGuardInstall) != 0) return;
        if (below(2) == 0) ::usleep(static_cast<useconds_t>(below(500)));
        CHECK(::madvise(memory, bytes, kMadvGuardRemove) == 0);
    }

    // As a network service fills its buffers: the kernel writes, not the program.
    void kernel_writes(std::byte* memory, std::size_t bytes) {
        const int source = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        CHECK(source >= 0);
        CHECK(::read(source, memory + 100, bytes - 100) > 0);
        CHECK(::close(source) == 0);
    }

    std::mt19937 random_;
    Control& control_;
    std::array<std::size_t, kSlots> places_ = {};
    std::uint64_t sequence_ = 0;
    std::size_t heap_pages_ = 0;
    std::string path_;
    int file_ = -1;
};

// ---- the copy
// ---------------------------------------------------------------------------------------

bool may_hold_private_pages(const proc::MapsEntry& entry) {
    return !entry.shared && entry.path != "[vvar]" && entry.path != "[vvar_vclock]" &&
           entry.path != "[vdso]" && entry.path != "[vsyscall]";
}

std::vector<proc::MapsEntry> private_mappings(Pid pid) {
    const auto text = os::read_file("/proc/" + std::to_string(pid.value) + "/maps");
    CHECK(text);
    auto all = proc::parse_maps(*text);
    CHECK(all);
    std::erase_if(*all, [](const auto& entry) { return !may_hold_private_pages(entry); });
    return std::move(*all);
}

// The destination of a migration, as a table of pages.
class Copy {
  public:
    Copy(TrackedChild& child, Tracker& tracker)
        : child_(child), tracker_(tracker), reader_(*Reader::open(child.pid())) {}

    void round(Protect protect) {
        std::vector<AddrRange> ranges;
        for (const proc::MapsEntry& entry : private_mappings(child_.pid())) {
            const Result<bool> registered = tracker_.register_range(
                entry.range, entry.has_file() ? Backing::File : Backing::Anonymous);
            ASSERT_TRUE(registered) << registered.error().describe();
            ranges.push_back(entry.range);
        }
        const Result<Changes> changes = tracker_.changes(ranges, protect);
        ASSERT_TRUE(changes) << changes.error().describe();
        PageSet mapped;
        for (const AddrRange& range : ranges) mapped.add(range);
        const PageSet gone = unite(subtract(sent_, mapped), intersect(sent_, changes->absent));
        for_each_page(gone, [&](std::uint64_t page) { pages_.erase(page); });
        sent_ = unite(subtract(sent_, gone), changes->written);
        Batches batches(changes->written, {.bytes = buffer_.size(), .runs = Reader::kBatchRuns});
        for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
            const Result<> read = reader_.read(runs, buffer_, batch_);
            ASSERT_TRUE(read) << read.error().describe();
            take_batch();
        }
        last_ = *changes;
    }

    // The child must be frozen, and the last round done.
    void verify() {
        const auto memory =
            os::open("/proc/" + std::to_string(child_.pid().value) + "/mem", O_RDONLY);
        ASSERT_TRUE(memory);
        for (const proc::MapsEntry& entry : private_mappings(child_.pid())) {
            os::UniqueFd file;
            if (entry.has_file()) {
                auto opened = os::open(entry.path, O_RDONLY);
                ASSERT_TRUE(opened) << entry.path;
                file = std::move(*opened);
            }
            for (RemoteAddr at = entry.range.start; at < entry.range.end; at = at + kPageSize) {
                Page source = {};
                const auto n = os::pread(memory->get(), source, at.value);
                if (!n || *n != kPageSize) {
                    ASSERT_FALSE(pages_.contains(at.value)) << "unreadable page in the copy";
                    continue;
                }
                Page copy = {};
                if (const auto found = pages_.find(at.value); found != pages_.end()) {
                    copy = found->second;
                } else if (file) {
                    const auto from = entry.offset + (at - entry.range.start);
                    ASSERT_TRUE(os::pread(file.get(), copy, from));
                }
                ASSERT_EQ(std::memcmp(copy.data(), source.data(), kPageSize), 0)
                    << "page " << std::hex << at.value << " of " << entry.path << std::dec
                    << ", sent " << sent_.contains(at) << ", absent " << last_.absent.contains(at)
                    << ", written " << last_.written.contains(at) << ", in copy "
                    << pages_.contains(at.value);
                ++verified_;
            }
        }
    }
    [[nodiscard]] std::uint64_t verified_pages() const { return verified_; }

  private:
    template <class Visit>
    static void for_each_page(const PageSet& set, Visit visit) {
        for (const PageRun& run : set.runs()) {
            for (auto page = run.start.value; page < run.end.value; page += kPageSize) visit(page);
        }
    }
    void take_batch() {
        for (const PagePiece& piece : batch_.data) {
            for (std::uint64_t i = 0; i < piece.run.size(); i += kPageSize) {
                std::memcpy(pages_[piece.run.start.value + i].data(), piece.bytes.data() + i,
                            kPageSize);
            }
        }
        for_each_page(batch_.zeros, [&](std::uint64_t page) { pages_[page] = {}; });
    }

    TrackedChild& child_;
    Tracker& tracker_;
    Reader reader_;
    std::vector<std::byte> buffer_ = std::vector<std::byte>(Reader::kBatchBytes);
    PageBatch batch_;
    PageSet sent_;
    Changes last_;
    std::unordered_map<std::uint64_t, Page> pages_;
    std::uint64_t verified_ = 0;
};

unsigned soak_factor() {
    const char* text = std::getenv("FERRY_PAGES_SOAK");
    return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 1;
}

class CopyOfARunningProcess : public testing::TestWithParam<unsigned> {};

TEST_P(CopyOfARunningProcess, EqualsItWheneverItStandsStill) {
    const unsigned seed = GetParam();
    TrackedChild child([&](Control& control) {
        Writer writer(seed, control);
        std::thread([&] { writer.write_beside(); }).detach();
        writer.run();
    });
    auto tracker = child.track();
    ASSERT_TRUE(tracker) << tracker.error().describe();
    Copy copy(child, *tracker);
    std::mt19937 random(seed);
    // On a busy machine the child may get to do little between two stops.
    const auto has_done_little = [&] { return child.control().operations.load() < 2000; };
    for (unsigned stop = 0; stop < 6 * soak_factor() || has_done_little(); ++stop) {
        for (unsigned round = 0; round < 1 + random() % 12; ++round) {
            copy.round(Protect::Yes);
            if (HasFatalFailure()) return;
            if (random() % 2 == 0) ::usleep(static_cast<useconds_t>(random() % 20000));
        }
        child.freeze();
        copy.round(Protect::No);
        if (!HasFatalFailure()) copy.verify();
        child.thaw();
        if (HasFatalFailure()) {
            FAIL() << "seed " << seed << ", stop " << stop;
        }
    }
    EXPECT_GT(copy.verified_pages(), 10000u);
    child.control().stop.store(true);
    ::usleep(20000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CopyOfARunningProcess, testing::Range(1u, 7u));

}  // namespace
}  // namespace ferry::pages
