#include "dump/shared_dump.h"

#include <algorithm>
#include <vector>

#include "os/fd.h"
#include "pages/shared_object.h"

namespace ferry::dump {
namespace {

constexpr std::uint64_t kBufferBytes = 1 << 20;

}  // namespace

Result<> dump_shared_memory(const model::SharedMemory& memory, image::PagemapWriter& into) {
    const os::UniqueFd object = TRY(pages::open_object(memory));
    std::vector<std::byte> buffer(std::min(kBufferBytes, memory.bytes));
    const pages::PageSet data = TRY(pages::find_data(object.get(), memory.bytes));
    for (const pages::PageRun& run : data.runs()) {
        for (RemoteAddr at = run.start; at < run.end;) {
            const std::span<std::byte> piece =
                std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), run.end - at));
            TRY(pages::read_object(object.get(), piece, at.value));
            TRY(into.append({at, at + piece.size()}, piece));
            at = at + piece.size();
        }
    }
    return {};
}

}  // namespace ferry::dump
