// The blob's two lives in this process: its sources compiled hosted, and the flat image at random
// addresses.
#include "abi/blob.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "blob/restorer/interpreter.h"

extern "C" const std::byte restorer_blob_begin[], restorer_blob_end[];

namespace ferry {
namespace {

std::span<const std::byte> image() {
    return {restorer_blob_begin, static_cast<std::size_t>(restorer_blob_end - restorer_blob_begin)};
}

abi::BlobHeader header() {
    abi::BlobHeader h;
    std::memcpy(&h, image().data(), sizeof(h));
    return h;
}

abi::Op call(long number, std::initializer_list<std::uint64_t> arguments) {
    abi::Op op = {};
    op.kind = abi::OpKind::Call;
    op.expect = abi::Expect::NonNegative;
    op.number = static_cast<std::uint32_t>(number);
    std::ranges::fill(op.sources, abi::kLiteral);
    std::ranges::copy(arguments, op.args);
    return op;
}

abi::Slot run(std::span<abi::Op> program) {
    abi::Slot slot = {};
    slot.socket = -1;
    slot.program = reinterpret_cast<std::uint64_t>(program.data());
    slot.op_count = static_cast<std::uint32_t>(program.size());
    blob::interpret(slot);
    return slot;
}

TEST(BlobImage, ItsHeaderDescribesIt) {
    EXPECT_EQ(header().magic, abi::kBlobMagic);
    EXPECT_EQ(header().version, abi::kBlobVersion);
    EXPECT_EQ(header().image_bytes, image().size());
    EXPECT_EQ(header().memory_bytes, image().size());
    EXPECT_LT(image().size(), 4096u);
    constexpr std::array kSyscall = {std::byte{0x0f}, std::byte{0x05}};
    EXPECT_EQ(std::memcmp(image().data() + header().syscall_offset, kSyscall.data(), 2), 0);
}

TEST(Interpreter, AnArgumentCanBeTheResultOfAnEarlierCall) {
    std::array program = {call(SYS_dup, {1}), call(SYS_fcntl, {0, F_GETFD}), call(SYS_close, {0})};
    program[1].sources[0] = 0;
    program[2].sources[0] = 0;
    const abi::Slot slot = run(program);
    EXPECT_EQ(slot.failed, abi::kNoFailure);
    EXPECT_EQ(slot.executed, 3u);
    EXPECT_EQ(fcntl(static_cast<int>(program[0].result), F_GETFD), -1);
}

TEST(Interpreter, AnArgumentCanBeDataOfTheProgram) {
    struct {
        abi::Op ops[2];
        std::int32_t fds[2];
    } program = {.ops = {call(SYS_pipe2, {offsetof(decltype(program), fds), 0}),
                         call(SYS_close, {offsetof(decltype(program), fds) + 4})},
                 .fds = {-1, -1}};
    program.ops[0].sources[0] = abi::kData;
    program.ops[1].sources[0] = abi::kLoad32;
    EXPECT_EQ(run(program.ops).failed, abi::kNoFailure);
    EXPECT_EQ(close(program.fds[0]), 0);
    EXPECT_EQ(close(program.fds[1]), -1);
}

TEST(Interpreter, TheFirstUnexpectedResultEndsTheProgram) {
    std::array program = {call(SYS_getpid, {}), call(SYS_close, {9999}), call(SYS_getpid, {})};
    const abi::Slot slot = run(program);
    EXPECT_EQ(slot.failed, 1u);
    EXPECT_EQ(slot.failed_result, -EBADF);
    EXPECT_EQ(slot.executed, 2u);
    EXPECT_EQ(program[2].result, 0);
}

TEST(Interpreter, ExpectationsAreKept) {
    std::array program = {call(SYS_close, {9999}), call(SYS_getpid, {}), call(SYS_getpid, {})};
    program[0].expect = abi::Expect::Any;
    program[1].expect = abi::Expect::Exact;
    program[1].expected = getpid();
    program[2].expect = abi::Expect::Exact;
    program[2].expected = getpid() + 1;
    EXPECT_EQ(run(program).failed, 2u);
}

TEST(Interpreter, AnOperationWithoutKindFails) {
    std::array program = {abi::Op{}};
    EXPECT_EQ(run(program).failed, 0u);
}

// A stub in a forked child, driven over its socket.
class LoadedImage {
  public:
    explicit LoadedImage(std::mt19937_64& random) {
        const std::uint64_t hint = 0x10000000 + (random() % 0x60000000 & ~0xfffULL);
        void* at = mmap(reinterpret_cast<void*>(hint), 3 * 4096, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        base_ = static_cast<std::byte*>(at);
        std::memcpy(base_, image().data(), image().size());
        EXPECT_EQ(mprotect(base_, 4096, PROT_READ | PROT_EXEC), 0);
        slot_ = reinterpret_cast<abi::Slot*>(base_ + 4096);
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets_), 0);
        slot_->socket = sockets_[1];
        slot_->next_socket = sockets_[1];
        child_ = fork();
        if (child_ == 0) {
            auto entry = reinterpret_cast<void (*)(abi::Slot*)>(base_ + header().entry_offset);
            entry(slot_);
        }
        close(sockets_[1]);
    }
    LoadedImage(const LoadedImage&) = delete;
    LoadedImage& operator=(const LoadedImage&) = delete;
    ~LoadedImage() { munmap(base_, 3 * 4096); }
    // The ops with their results.
    std::vector<abi::Op> run(std::vector<abi::Op> program) {
        std::memcpy(base_ + 8192, program.data(), program.size() * sizeof(abi::Op));
        slot_->program = reinterpret_cast<std::uint64_t>(base_ + 8192);
        slot_->op_count = static_cast<std::uint32_t>(program.size());
        ++slot_->doorbell;
        std::uint32_t message = slot_->doorbell;
        EXPECT_EQ(send(sockets_[0], &message, sizeof(message), MSG_NOSIGNAL), 4);
        EXPECT_EQ(recv(sockets_[0], &message, sizeof(message), 0), 4);
        EXPECT_EQ(message, slot_->doorbell);
        std::memcpy(program.data(), base_ + 8192, program.size() * sizeof(abi::Op));
        return program;
    }
    int end() {
        close(sockets_[0]);
        int status = 0;
        EXPECT_EQ(waitpid(child_, &status, 0), child_);
        return status;
    }
    [[nodiscard]] pid_t child() const { return child_; }
    [[nodiscard]] const abi::Slot& slot() const { return *slot_; }

  private:
    std::byte* base_ = nullptr;
    abi::Slot* slot_ = nullptr;
    int sockets_[2] = {-1, -1};
    pid_t child_ = -1;
};

TEST(BlobImage, RunsAtTwoRandomAddressesAndEndsWithItsSocket) {
    std::mt19937_64 random(std::random_device{}());
    for (int i = 0; i < 2; ++i) {
        LoadedImage stub(random);
        EXPECT_EQ(stub.run({call(SYS_getpid, {})})[0].result, stub.child());
        EXPECT_EQ(stub.run({call(SYS_close, {1})})[0].result, -EBADF) << "inherited descriptors";
        EXPECT_EQ(stub.slot().failed, 0u);
        const int status = stub.end();
        EXPECT_TRUE(WIFEXITED(status));
    }
}

}  // namespace
}  // namespace ferry
