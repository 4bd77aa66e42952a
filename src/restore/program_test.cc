#include "restore/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cstring>

namespace ferry::restore {
namespace {

std::vector<std::byte> loaded(const Program& program, RemoteAddr address) {
    std::vector<std::byte> area(program.bytes());
    program.load(area, address);
    return area;
}

abi::Op op_at(const std::vector<std::byte>& area, std::size_t index) {
    abi::Op op;
    std::memcpy(&op, area.data() + index * sizeof(op), sizeof(op));
    return op;
}

TEST(Program, LoadsOperationsAndThenTheirData) {
    Program program;
    const Data path = program.add_text("/a");
    const Op opened = program.call("open", SYS_open, {path, O_RDONLY});
    program.call("close", SYS_close, {opened}, kAnything);
    const auto area = loaded(program, RemoteAddr{0x10000});
    EXPECT_EQ(area.size(), 2 * sizeof(abi::Op) + 8);
    EXPECT_EQ(op_at(area, 0).sources[0], abi::kData);
    EXPECT_EQ(op_at(area, 0).args[0], 2 * sizeof(abi::Op));
    EXPECT_STREQ(reinterpret_cast<const char*>(area.data() + op_at(area, 0).args[0]), "/a");
    EXPECT_EQ(op_at(area, 1).sources[0], 0u);
    EXPECT_EQ(op_at(area, 1).expect, abi::Expect::Any);
}

TEST(Program, PointersBecomeAddressesInTheStub) {
    Program program;
    const Data target = program.add_value(std::uint64_t{7});
    const Data pointer = program.add_value(std::uint64_t{0});
    program.point(pointer, 0, target);
    program.call("getpid", SYS_getpid, {});
    const auto area = loaded(program, RemoteAddr{0x10000});
    std::uint64_t value = 0;
    std::memcpy(&value, area.data() + sizeof(abi::Op) + 8, sizeof(value));
    EXPECT_EQ(value, 0x10000 + sizeof(abi::Op));
}

TEST(Program, ResultsAndDataComeBack) {
    Program program;
    const Data data = program.add_value(std::int32_t{0});
    const Op op = program.call("getpid", SYS_getpid, {});
    auto area = loaded(program, RemoteAddr{0x10000});
    abi::Op done = op_at(area, 0);
    done.result = 4711;
    std::memcpy(area.data(), &done, sizeof(done));
    const std::int32_t changed = 12;
    std::memcpy(area.data() + sizeof(done), &changed, sizeof(changed));
    program.collect(area);
    EXPECT_EQ(program.result(op), 4711);
    EXPECT_EQ(program.value<std::int32_t>(data), 12);
}

TEST(Program, CanBePrinted) {
    Program program;
    const Data data = program.add_text("x");
    const Op fd = program.call("open", SYS_open, {data, 0});
    program.call("mmap", SYS_mmap, {RemoteAddr{0x7f0000000000}, 4096, 3, 2, fd, 0});
    EXPECT_EQ(program.describe(0), "open(data+0)");
    EXPECT_EQ(program.describe(1), "mmap(0x7f0000000000, 0x1000, 3, 2, result of 0)");
}

TEST(Program, NegativeNumbersKeepTheirSign) {
    Program program;
    program.call("mmap", SYS_mmap, {0, 0, 0, 0, -1, 0});
    EXPECT_EQ(op_at(loaded(program, {}), 0).args[4], ~0ULL);
}

}  // namespace
}  // namespace ferry::restore
