#include "restore/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

extern "C" const std::byte restorer_blob_begin[], restorer_blob_end[];

namespace ferry::restore {
namespace {

std::span<const std::byte> blob() {
    return {restorer_blob_begin, static_cast<std::size_t>(restorer_blob_end - restorer_blob_begin)};
}

}  // namespace

std::uint64_t Arena::bytes_for(std::uint32_t slots) {
    return page_align_up(blob().size()) + slots * kSlotBytes + kParkBytes;
}

Result<Arena> Arena::create(RemoteAddr base, std::uint32_t slots) {
    abi::BlobHeader header;
    std::memcpy(&header, blob().data(), sizeof(header));
    CHECK(header.magic == abi::kBlobMagic);
    CHECK(header.version == abi::kBlobVersion);
    CHECK(header.memory_bytes == blob().size());

    Arena arena;
    arena.base_ = base;
    arena.code_bytes_ = page_align_up(blob().size());
    arena.entry_ = base + header.entry_offset;
    arena.syscall_ = base + header.syscall_offset;
    arena.used_.resize(slots);
    arena.fd_ = TRY(os::memfd_create("ferry-stubs", MFD_CLOEXEC));
    const std::uint64_t bytes = bytes_for(slots) - kParkBytes;
    TRY(os::ftruncate(arena.fd_.get(), bytes));
    arena.memory_ =
        TRY(os::Mapping::map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, arena.fd_.get()));
    std::memcpy(arena.memory_.data(), blob().data(), blob().size());
    return arena;
}

Result<SlotRun> Arena::allocate(std::uint32_t count) {
    std::uint32_t free = 0;
    for (std::uint32_t i = 0; i < used_.size(); ++i) {
        free = used_[i] ? 0 : free + 1;
        if (free < count) continue;
        const SlotRun run{.first = i + 1 - count, .count = count};
        for (std::uint32_t j = run.first; j <= i; ++j) used_[j] = true;
        slot(run) = abi::Slot{.doorbell = 0,
                              .answered = 0,
                              .socket = -1,
                              .next_socket = -1,
                              .op_count = 0,
                              .first_closed = 0,
                              .program = 0,
                              .failed = abi::kNoFailure,
                              .executed = 0,
                              .failed_result = 0};
        return run;
    }
    return fail(Error::limit(fmt::format("the tree has more than {} threads", used_.size())));
}

void Arena::release(SlotRun run) {
    for (std::uint32_t i = run.first; i < run.first + run.count; ++i) {
        CHECK(used_[i]);
        used_[i] = false;
    }
}

abi::Slot& Arena::slot(SlotRun run) const {
    return *reinterpret_cast<abi::Slot*>(memory_.data() + (address(run) - base_));
}

RemoteAddr Arena::address(SlotRun run) const {
    return base_ + code_bytes_ + run.first * kSlotBytes;
}

std::span<std::byte> Arena::program_area(SlotRun run) const {
    return memory_.bytes().subspan(program_address(run) - base_,
                                   run.count * kSlotBytes - kPageSize);
}

os::FlatImage Arena::image(SlotRun run) const {
    return {.memory = fd_.get(),
            .base = base_.value,
            .bytes = memory_.size(),
            .code_bytes = code_bytes_,
            .entry = entry_.value,
            .argument = address(run).value,
            .stack_top = stack_top(run).value};
}

}  // namespace ferry::restore
