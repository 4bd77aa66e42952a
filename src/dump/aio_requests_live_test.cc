// Requests of an aio context that the disk serves while pages are sent: direct_reads_under_way()
// returns when those that were under way have moved all their data.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "dump/direct_reads.h"

namespace ferry::dump {
namespace {

constexpr std::size_t kBlock = 1 << 20, kBlocks = 48;
constexpr std::byte kPattern{0x5a};

struct Shared {
    std::atomic<std::uint64_t> submitted, taken;
    alignas(4096) std::byte blocks[kBlocks][kBlock];
};

class AioRequests : public testing::Test {
  protected:
    void SetUp() override {
        void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(memory, MAP_FAILED);
        shared_ = static_cast<Shared*>(memory);
        char path[] = "/var/tmp/ferry-aio-requests-XXXXXX";
        file_ = ::mkostemp(path, O_DIRECT);
        ::unlink(path);
        std::memset(shared_->blocks, static_cast<int>(kPattern), sizeof(shared_->blocks));
        ASSERT_EQ(::write(file_, shared_->blocks, sizeof(shared_->blocks)),
                  static_cast<ssize_t>(sizeof(shared_->blocks)));
        std::memset(shared_->blocks, 0, sizeof(shared_->blocks));
    }
    void TearDown() override {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
        ::munmap(shared_, sizeof(Shared));
        ::close(file_);
    }

    // A process that reads everything once, or again and again.
    void start(bool again) {
        child_ = ::fork();
        if (child_ != 0) return;
        aio_context_t context = 0;
        ::syscall(SYS_io_setup, kBlocks, &context);
        for (;;) {
            for (std::size_t i = 0; i < kBlocks; ++i) submit(context, i);
            if (!again) break;
            for (std::size_t i = 0; i < kBlocks;) {
                io_event event = {};
                if (::syscall(SYS_io_getevents, context, 1L, 1L, &event, nullptr) != 1) continue;
                shared_->taken += event.res == kBlock ? 1 : 0;
                ++i;
            }
        }
        for (;;) ::pause();
    }

    Shared* shared_ = nullptr;
    int file_ = -1;
    pid_t child_ = 0;

  private:
    void submit(aio_context_t context, std::size_t block) {
        iocb request = {};
        request.aio_lio_opcode = IOCB_CMD_PREAD;
        request.aio_fildes = static_cast<std::uint32_t>(file_);
        request.aio_buf = reinterpret_cast<std::uint64_t>(shared_->blocks[block]);
        request.aio_nbytes = kBlock;
        request.aio_offset = static_cast<std::int64_t>(block * kBlock);
        iocb* list = &request;
        if (::syscall(SYS_io_submit, context, 1L, &list) == 1) ++shared_->submitted;
    }
};

TEST_F(AioRequests, HaveMovedTheirDataWhenTheCallReturns) {
    start(false);
    while (shared_->submitted < kBlocks) ::usleep(100);
    const auto found = direct_reads_under_way(Pid{child_});
    ASSERT_TRUE(found) << found.error().describe();
    EXPECT_TRUE(found->empty());
    // The last one first, before it can have ended by itself.
    for (std::size_t i = kBlocks; i-- > 0;) {
        ASSERT_EQ(shared_->blocks[i][kBlock - 1], kPattern) << "block " << i;
    }
}

TEST_F(AioRequests, AProcessThatAlwaysHasSomeIsStoppedForThemAndRunsOn) {
    start(true);
    for (int i = 0; i < 5; ++i) {
        const std::uint64_t before = shared_->taken;
        while (shared_->taken < before + kBlocks) ::usleep(100);
        const auto found = direct_reads_under_way(Pid{child_});
        ASSERT_TRUE(found) << found.error().describe();
    }
    EXPECT_EQ(::waitpid(child_, nullptr, WNOHANG), 0);
}

}  // namespace
}  // namespace ferry::dump
