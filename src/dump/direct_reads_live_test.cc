// Calls that are under way in a child, found from outside. A pipe can be in packet mode, which is
// O_DIRECT as well, and a read of it waits for as long as it takes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "dump/direct_reads.h"

namespace ferry::dump {
namespace {

// Two pages, at the same address in the child.
std::byte* g_pages = nullptr;

class Child {
  public:
    explicit Child(const std::function<void()>& work) : pid_(::fork()) {
        if (pid_ == 0) {
            work();
            ::_exit(0);
        }
        ::usleep(50'000);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    [[nodiscard]] pages::PageSet under_way() const {
        const auto found = direct_reads_under_way(Pid{pid_});
        EXPECT_TRUE(found) << found.error().describe();
        return found.value_or(pages::PageSet());
    }
    [[nodiscard]] bool is_alive() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

  private:
    pid_t pid_;
};

class DirectReads : public testing::Test {
  protected:
    void SetUp() override {
        void* pages = ::mmap(nullptr, 2 * kPageSize, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(pages, MAP_FAILED);
        g_pages = static_cast<std::byte*>(pages);
        ASSERT_EQ(::pipe2(packets_, 0), 0);
        ASSERT_EQ(::fcntl(packets_[0], F_SETFL, O_DIRECT), 0);
        ASSERT_EQ(::pipe2(plain_, 0), 0);
    }
    void TearDown() override {
        ::munmap(g_pages, 2 * kPageSize);
        for (const int fd : {packets_[0], packets_[1], plain_[0], plain_[1]}) ::close(fd);
    }
    static pages::PageSet page(std::uint64_t index) {
        const RemoteAddr start{reinterpret_cast<std::uint64_t>(g_pages) + index * kPageSize};
        pages::PageSet set;
        set.add(AddrRange{start, start + kPageSize});
        return set;
    }
    int packets_[2] = {-1, -1};
    int plain_[2] = {-1, -1};
};

TEST_F(DirectReads, AreFoundWithAllPagesThatTheyMayFill) {
    const Child one([&] { std::ignore = ::read(packets_[0], g_pages + 100, 8); });
    EXPECT_EQ(one.under_way(), page(0));
    const Child across([&] { std::ignore = ::read(packets_[0], g_pages + kPageSize - 1, 2); });
    EXPECT_EQ(across.under_way(), pages::unite(page(0), page(1)));
    const Child scattered([&] {
        const iovec vector[] = {{g_pages + kPageSize, 10}, {g_pages, 0}};
        std::ignore = ::readv(packets_[0], vector, 2);
    });
    EXPECT_EQ(scattered.under_way(), page(1));
}

TEST_F(DirectReads, OthersAreNot) {
    const Child plain([&] {
        ::close(packets_[0]);
        ::close(packets_[1]);
        std::ignore = ::read(plain_[0], g_pages, 8);
    });
    EXPECT_TRUE(plain.under_way().empty());
    const Child sleeping([] { ::pause(); });
    EXPECT_TRUE(sleeping.under_way().empty());
}

TEST_F(DirectReads, AThreadThatNeverWaitsIsStoppedAndRunsOn) {
    const Child spinning([] {
        for (volatile int i = 0;;) i = i + 1;
    });
    EXPECT_TRUE(spinning.under_way().empty());
    EXPECT_TRUE(spinning.is_alive());
}

TEST_F(DirectReads, AProcessThatIsGoneHasNone) {
    EXPECT_TRUE(direct_reads_under_way(Pid{1 << 22})->empty());
}

}  // namespace
}  // namespace ferry::dump
