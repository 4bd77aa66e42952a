// For tests: the restorer as a container's first process, and descriptions of a lab's container.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "abi/blob.h"
#include "base/check.h"
#include "container/container_lab.h"
#include "container/creation.h"
#include "os/fd.h"
#include "os/memory.h"
#include "os/socket.h"

extern "C" const std::byte restorer_blob_begin[], restorer_blob_end[];

namespace ferry::container {

inline constexpr int kSocketNumber = 9;

// The restorer's image with one slot, as restore::Arena lays it out.
class StubImage {
  public:
    StubImage() {
        const std::span<const std::byte> blob(restorer_blob_begin, restorer_blob_end);
        std::memcpy(&header_, blob.data(), sizeof header_);
        code_bytes_ = page_align_up(blob.size());
        file_ = *os::memfd_create("test-stub", 0);
        CHECK(os::ftruncate(file_.get(), code_bytes_ + kSlotBytes).has_value());
        memory_ = *os::Mapping::map(code_bytes_ + kSlotBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                                    file_.get());
        std::memcpy(memory_.data(), blob.data(), blob.size());
        slot() = {.doorbell = 0,
                  .answered = 0,
                  .socket = kSocketNumber,
                  .next_socket = kSocketNumber,
                  .op_count = 0,
                  .first_closed = 0,
                  .program = kBase + code_bytes_ + kPageSize,
                  .failed = abi::kNoFailure,
                  .executed = 0,
                  .failed_result = 0};
        auto sockets = *os::socketpair(AF_UNIX, SOCK_SEQPACKET);
        ours_ = std::move(sockets.first);
        theirs_ = std::move(sockets.second);
    }

    [[nodiscard]] os::FlatImage flat() const {
        const std::uint64_t slot = kBase + code_bytes_;
        return {.memory = file_.get(),
                .base = kBase,
                .bytes = memory_.size(),
                .code_bytes = code_bytes_,
                .entry = kBase + header_.entry_offset,
                .argument = slot,
                .stack_top = slot + kPageSize};
    }
    Result<Pid> start(Creation& creation) {
        auto pid = creation.start(flat(), theirs_.get(), kSocketNumber);
        theirs_.reset();
        return pid;
    }
    // One system call in the stub; EOF if it is gone.
    std::int64_t call(std::uint32_t number, std::uint64_t a = 0, std::uint64_t b = 0) {
        auto& op = *reinterpret_cast<abi::Op*>(memory_.data() + code_bytes_ + kPageSize);
        op = {.kind = abi::OpKind::Call,
              .expect = abi::Expect::Any,
              .number = number,
              .reserved = 0,
              .args = {a, b},
              .sources = {},
              .expected = 0,
              .result = 0};
        std::ranges::fill(op.sources, abi::kLiteral);
        slot().op_count = 1;
        const std::uint32_t bell = ++slot().doorbell;
        CHECK(::send(ours_.get(), &bell, sizeof bell, MSG_NOSIGNAL) == sizeof bell);
        std::uint32_t answer = 0;
        CHECK(::recv(ours_.get(), &answer, sizeof answer, 0) == sizeof answer);
        return op.result;
    }

  private:
    static constexpr std::uint64_t kBase = 0x10000000, kSlotBytes = 8 * kPageSize;
    abi::Slot& slot() { return *reinterpret_cast<abi::Slot*>(memory_.data() + code_bytes_); }
    abi::BlobHeader header_ = {};
    std::uint64_t code_bytes_ = 0;
    os::UniqueFd file_, ours_, theirs_;
    os::Mapping memory_;
};

inline Description described(const ContainerLab& lab) {
    const auto container = find(lab.id, lab.runtime);
    CHECK(container.has_value());
    auto description = describe(*container);
    CHECK(description.has_value());
    return *description;
}

// A description of the lab's container, which then is gone: this host becomes the destination.
inline Description moved_away(const ContainerLab& lab) {
    lab.start();
    Description description = described(lab);
    const auto removed = remove(*find(lab.id, lab.runtime));
    EXPECT_TRUE(removed) << removed.error().message();
    return description;
}

}  // namespace ferry::container
