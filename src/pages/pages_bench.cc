// Costs of the page layer on this machine: scanning, reading, finding zeros, comparing with the
// parent. Pages are those of a child that stands still. PAGES_BENCH_MIB sets the size of its memory
// (default 512).
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "pages/page_wire.h"
#include "pages/reader.h"
#include "pages/shared_with_parent.h"
#include "pages/tracked_child.h"
#include "pages/tracker.h"

namespace ferry::pages {
namespace {

std::size_t memory_bytes() {
    const char* text = std::getenv("PAGES_BENCH_MIB");
    return (text != nullptr ? std::strtoul(text, nullptr, 10) : 512) << 20;
}

// A child with so much memory; it dirties every `stride`-th page when told to.
class Child {
  public:
    explicit Child(std::size_t stride)
        : child_([stride](Control& control) {
              const std::size_t bytes = memory_bytes();
              void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              std::memset(memory, 1, bytes);
              control.address.store(reinterpret_cast<std::uintptr_t>(memory));
              control.step.store(1);
              for (int step = 2;; step += 2) {
                  control.wait_for_step(step);
                  auto* bytes_of = static_cast<volatile char*>(memory);
                  for (std::size_t i = 0; i < bytes; i += stride * kPageSize) bytes_of[i] = 2;
                  control.step.store(step + 1);
              }
          }),
          tracker_(child_.track().value()) {
        child_.control().wait_for_step(1);
        const RemoteAddr start{child_.control().address.load()};
        range_ = {start, start + memory_bytes()};
        CHECK(tracker_.register_range(range_, Backing::Anonymous).value());
    }
    void dirty() {
        const int step = child_.control().step.load();
        child_.control().step.store(step + 1);
        child_.control().wait_for_step(step + 2);
    }
    Tracker& tracker() { return tracker_; }
    [[nodiscard]] AddrRange range() const { return range_; }
    [[nodiscard]] Pid pid() const { return child_.pid(); }

  private:
    TrackedChild child_;
    Tracker tracker_;
    AddrRange range_;
};

void set_bytes(benchmark::State& state) {
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                            static_cast<std::int64_t>(memory_bytes()));
}

// Of every n-th page dirty; 1: all of them.
void scan_and_protect(benchmark::State& state) {
    Child child(static_cast<std::size_t>(state.range(0)));
    CHECK(child.tracker().scan(child.range(), Protect::Yes));
    for (auto _ : state) {
        state.PauseTiming();
        child.dirty();
        state.ResumeTiming();
        benchmark::DoNotOptimize(child.tracker().scan(child.range(), Protect::Yes));
    }
    set_bytes(state);
}
BENCHMARK(scan_and_protect)->Arg(1)->Arg(8)->Arg(256)->Arg(1 << 20)->Unit(benchmark::kMillisecond);

// Batches of so many KiB.
void read_pages(benchmark::State& state) {
    Child child(1);
    Reader reader = Reader::open(child.pid()).value();
    std::vector<std::byte> buffer(static_cast<std::size_t>(state.range(0)) << 10);
    PageBatch batch;
    const PageSet all = {child.range()};
    for (auto _ : state) {
        Batches batches(all, {.bytes = buffer.size(), .runs = Reader::kBatchRuns});
        for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
            CHECK(reader.read(runs, buffer, batch));
        }
    }
    set_bytes(state);
}
BENCHMARK(read_pages)
    ->Arg(64)
    ->Arg(256)
    ->Arg(512)
    ->Arg(1024)
    ->Arg(4096)
    ->Unit(benchmark::kMillisecond);

// Every second page: runs of one page.
void read_scattered_pages(benchmark::State& state) {
    Child child(1);
    Reader reader = Reader::open(child.pid()).value();
    std::vector<std::byte> buffer(Reader::kBatchBytes);
    PageBatch batch;
    PageSet half;
    for (RemoteAddr at = child.range().start; at < child.range().end; at = at + 2 * kPageSize) {
        half.add({at, at + kPageSize});
    }
    for (auto _ : state) {
        Batches batches(half, {.bytes = buffer.size(), .runs = Reader::kBatchRuns});
        for (auto runs = batches.next(); !runs.empty(); runs = batches.next()) {
            CHECK(reader.read(runs, buffer, batch));
        }
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                            static_cast<std::int64_t>(half.bytes()));
}
BENCHMARK(read_scattered_pages)->Unit(benchmark::kMillisecond);

// 0: pages of zeros, the dearest case; 1: a byte at the start; 2: one in the middle.
void find_zeros(benchmark::State& state) {
    std::vector<std::byte> memory(512 << 10);
    for (std::size_t i = 0; i < memory.size(); i += kPageSize) {
        if (state.range(0) == 1) memory[i] = std::byte{1};
        if (state.range(0) == 2) memory[i + kPageSize / 2] = std::byte{1};
    }
    for (auto _ : state) {
        std::size_t zeros = 0;
        for (std::size_t i = 0; i < memory.size(); i += kPageSize) {
            zeros += is_zero_page(std::span(memory).subspan(i).first<kPageSize>()) ? 1u : 0u;
        }
        benchmark::DoNotOptimize(zeros);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) *
                            static_cast<std::int64_t>(memory.size()));
}
BENCHMARK(find_zeros)->Arg(0)->Arg(1)->Arg(2);

void compare_with_parent(benchmark::State& state) {
    const std::size_t bytes = memory_bytes();
    const os::Mapping memory =
        os::Mapping::map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS).value();
    std::memset(memory.data(), 1, bytes);
    const RemoteAddr start{reinterpret_cast<std::uintptr_t>(memory.data())};
    TrackedChild child([](Control&) {});
    CHECK(child.track());
    const PageSet all = {AddrRange{start, start + bytes}};
    for (auto _ : state) {
        const auto shared = shared_with_parent(child.pid(), Pid{::getpid()}, all);
        CHECK(shared && shared->bytes() == bytes);
    }
    set_bytes(state);
}
BENCHMARK(compare_with_parent)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ferry::pages

BENCHMARK_MAIN();
