// Builds a program of system calls for a stub (abi/blob.h). A program is a value: it can be printed
// and tested without running it.
//
//   Program program;
//   const Data path = program.add_text("/proc/self");
//   const Op opened = program.call("open", SYS_open, {path, O_RDONLY});
//   program.call("close", SYS_close, {opened});
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "abi/blob.h"
#include "base/check.h"
#include "base/types.h"

namespace ferry::restore {

// Data behind the operations; `offset` counts from the start of the data.
struct Data {
    std::uint64_t offset = 0;
};
// An operation; as an argument, its result.
struct Op {
    std::uint32_t index = 0;
};
// The int32 that stands in data when the operation runs.
struct Load32 {
    Data from;
};

class Argument {
  public:
    template <class T>
        requires(std::integral<T> || std::is_enum_v<T>)
    // NOLINTNEXTLINE(google-explicit-constructor): argument lists should read like calls.
    Argument(T value) : literal_(static_cast<std::uint64_t>(value)) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Argument(RemoteAddr address) : literal_(address.value) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Argument(Data data) : literal_(data.offset), source_(abi::kData) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Argument(Load32 load) : literal_(load.from.offset), source_(abi::kLoad32) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Argument(Op op) : source_(op.index) {}

  private:
    friend class Program;
    std::uint64_t literal_ = 0;
    std::uint32_t source_ = abi::kLiteral;
};

struct Expectation {
    abi::Expect kind = abi::Expect::NonNegative;
    std::int64_t value = 0;
};
inline constexpr Expectation kSuccess{};
inline constexpr Expectation kAnything{.kind = abi::Expect::Any};
[[nodiscard]] constexpr Expectation exactly(std::int64_t value) {
    return {.kind = abi::Expect::Exact, .value = value};
}

class Program {
  public:
    // `name` is for messages and must be a literal.
    Op call(const char* name, long number, std::initializer_list<Argument> arguments,
            Expectation expectation = kSuccess);
    // clone3(2): the child begins at the blob's entry with `slot`. `socket` is its descriptor
    // number.
    Op spawn(Data clone_arguments, std::uint64_t size, RemoteAddr slot, Argument socket,
             Expectation expectation = kSuccess);

    // Copies bytes behind the operations, 8-byte aligned.
    Data add(std::span<const std::byte> bytes);
    template <class T>
        requires std::is_trivially_copyable_v<T>
    Data add_value(const T& value) {
        return add(std::as_bytes(std::span(&value, 1)));
    }
    template <class T>
        requires std::is_trivially_copyable_v<T>
    Data add_array(std::span<const T> values) {
        return add(std::as_bytes(values));
    }
    Data add_text(std::string_view text);  // with a closing NUL
    // When the program is loaded, the eight bytes at `at` + `offset` become the address of
    // `target`.
    void point(Data at, std::uint64_t offset, Data target);

    [[nodiscard]] bool empty() const { return ops_.empty(); }
    [[nodiscard]] std::size_t size() const { return ops_.size(); }
    // Of operations and data.
    [[nodiscard]] std::size_t bytes() const { return ops_bytes() + data_.size(); }
    void clear();

    // Writes the program as it must stand at `address`. `area` holds at least bytes().
    void load(std::span<std::byte> area, RemoteAddr address) const;
    // Reads results and data back after a run.
    void collect(std::span<const std::byte> area);

    [[nodiscard]] std::int64_t result(Op op) const { return ops_[op.index].result; }
    template <class T>
    [[nodiscard]] T value(Data data, std::uint64_t offset = 0) const {
        T value;
        CHECK(data.offset + offset + sizeof(T) <= data_.size());
        std::memcpy(&value, data_.data() + data.offset + offset, sizeof(T));
        return value;
    }
    // "mmap(0x10000, 4096, 3, ...)".
    [[nodiscard]] std::string describe(std::size_t index) const;

  private:
    struct Pointer {
        std::uint64_t at = 0, target = 0;  // offsets in the data
    };
    [[nodiscard]] std::size_t ops_bytes() const { return ops_.size() * sizeof(abi::Op); }

    std::vector<abi::Op> ops_;
    std::vector<const char*> names_;
    std::vector<std::byte> data_;
    std::vector<Pointer> pointers_;
};

}  // namespace ferry::restore
