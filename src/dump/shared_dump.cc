#include "dump/shared_dump.h"

#include <algorithm>
#include <span>
#include <vector>

#include "os/fd.h"
#include "pages/shared_object.h"

namespace ferry::dump {
namespace {

constexpr std::uint64_t kBufferBytes = 1 << 20;

// Of `run`, those that are not the `same` as in the parent.
Result<> append_others(pages::PageRun run, std::span<const std::byte> bytes,
                       const pages::PageSet& same, image::PagemapWriter& into) {
    const pages::PageSet others = subtract({run}, same);
    std::uint64_t offset = into.pages_offset();
    for (const pages::PageRun& other : others.runs()) {
        TRY(os::pwrite_all(into.pages_fd(), bytes.subspan(other.start - run.start, other.size()),
                           offset));
        offset += other.size();
    }
    return add_pages(others, same, into);
}

}  // namespace

Result<> dump_shared_memory(const model::SharedMemory& memory, const ParentPages* parent,
                            image::PagemapWriter& into) {
    const os::UniqueFd object = TRY(pages::open_object(memory));
    std::vector<std::byte> buffer(std::min(kBufferBytes, memory.bytes));
    const pages::PageSet data = TRY(pages::find_data(object.get(), memory.bytes));
    for (const pages::PageRun& run : data.runs()) {
        for (RemoteAddr at = run.start; at < run.end;) {
            const std::span<std::byte> piece =
                std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), run.end - at));
            TRY(pages::read_object(object.get(), piece, at.value));
            const pages::PageRun part = {at, at + piece.size()};
            pages::PageSet same;
            if (parent != nullptr) same = TRY(parent->find_same(part, piece));
            TRY(append_others(part, piece, same, into));
            at = part.end;
        }
    }
    return {};
}

}  // namespace ferry::dump
