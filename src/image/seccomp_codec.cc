#include "image/seccomp_codec.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>

#include "image/proto/inventory.pb.h"
#include "image/records.h"

namespace ferry::image {
namespace {

constexpr const char* kName = "seccomp.img";
constexpr int kFiltersMax = 1 << 16;
constexpr std::size_t kProgramBytesMax = BPF_MAXINSNS * sizeof(sock_filter);
// The kernel takes no more for one thread (MAX_INSNS_PER_PATH).
constexpr std::size_t kChainBytesMax = (std::size_t{1} << 15) * sizeof(sock_filter);

}  // namespace

std::optional<std::uint32_t> SeccompTable::number_of(
    const std::vector<model::SeccompFilter>& filters) {
    std::optional<std::uint32_t> newest;
    for (const model::SeccompFilter& filter : filters) {
        const Entry entry = {.filter = filter, .previous = newest};
        auto found = std::ranges::find(entries_, entry);
        if (found == entries_.end()) found = entries_.insert(entries_.end(), entry);
        newest = static_cast<std::uint32_t>(found - entries_.begin());
    }
    return newest;
}

Result<> SeccompTable::put(ImageStore& into) const {
    wire::Seccomp table;
    for (const Entry& entry : entries_) {
        wire::SeccompFilter& filter = *table.add_seccomp_filters();
        filter.set_filter(entry.filter.program.data(), entry.filter.program.size());
        if (entry.previous) filter.set_prev(*entry.previous);
        if (entry.filter.flags != 0) filter.set_flags(entry.filter.flags);
    }
    // CRIU's readers expect the file, filters or not.
    return put_one(into, kName, Magic::Seccomp, table);
}

Result<SeccompTable> SeccompTable::get(const ImageStore& from) {
    wire::Seccomp read;
    TRY(get_one(from, kName, Magic::Seccomp, read));
    if (read.seccomp_filters_size() > kFiltersMax) {
        return fail(Error::limit("too many seccomp filters"));
    }
    SeccompTable table;
    for (const wire::SeccompFilter& filter : read.seccomp_filters()) {
        const std::string& program = filter.filter();
        if (program.empty() || program.size() % sizeof(sock_filter) != 0 ||
            program.size() > kProgramBytesMax) {
            return fail(
                Error::corrupt(fmt::format("a seccomp filter of {} bytes", program.size())));
        }
        const auto bytes = std::as_bytes(std::span(program));
        Entry& entry = table.entries_.emplace_back();
        entry.filter = {.program = {bytes.begin(), bytes.end()}, .flags = filter.flags()};
        if (filter.has_prev()) entry.previous = filter.prev();
    }
    return table;
}

Result<SeccompTable::Filters> SeccompTable::filters_of(const wire::ThreadCore& thread) const {
    Filters filters;
    if (thread.seccomp_mode() == SECCOMP_MODE_DISABLED) return filters;
    if (thread.seccomp_mode() != SECCOMP_MODE_FILTER) {
        return fail(Error::unsupported(fmt::format("seccomp mode {}", thread.seccomp_mode())));
    }
    std::size_t bytes = 0;
    std::optional<std::uint32_t> at = thread.seccomp_filter();
    while (at) {
        if (*at >= entries_.size()) {
            return fail(Error::corrupt(fmt::format("seccomp filter {} is missing", *at)));
        }
        const Entry& entry = entries_[*at];
        bytes += entry.filter.program.size();
        if (bytes > kChainBytesMax) return fail(Error::limit("a chain of seccomp filters"));
        model::SeccompFilter filter = entry.filter;
        filters.synchronize |= (filter.flags & SECCOMP_FILTER_FLAG_TSYNC) != 0;
        filter.flags &= ~static_cast<std::uint32_t>(SECCOMP_FILTER_FLAG_TSYNC);
        filters.chain.push_back(std::move(filter));
        at = entry.previous;
    }
    std::ranges::reverse(filters.chain);
    return filters;
}

}  // namespace ferry::image
