#include "pages/run.h"

#include <algorithm>

#include "base/check.h"

namespace ferry::pages {
namespace {

// Appends to sorted runs; `run` starts at or behind the start of the last one.
void append_joined(std::vector<PageRun>& runs, PageRun run) {
    if (run.empty()) return;
    if (!runs.empty() && run.start <= runs.back().end) {
        runs.back().end = std::max(runs.back().end, run.end);
    } else {
        runs.push_back(run);
    }
}

PageSet from_sorted(const std::vector<PageRun>& runs) {
    PageSet set;
    for (const PageRun& run : runs) set.add(run);
    return set;
}

}  // namespace

void PageSet::add(PageRun run) {
    if (run.empty()) return;
    CHECK(run.start.value % kPageSize == 0);
    CHECK(run.end.value % kPageSize == 0);
    if (runs_.empty() || run.start >= runs_.back().start) {
        const RemoteAddr old_end = runs_.empty() ? run.start : runs_.back().end;
        const RemoteAddr from = std::max(run.start, old_end);
        if (run.end > from) bytes_ += run.end - from;
        append_joined(runs_, run);
        return;
    }
    // The runs that touch the new one are replaced by their union with it.
    const auto first =
        std::lower_bound(runs_.begin(), runs_.end(), run,
                         [](const PageRun& a, const PageRun& b) { return a.end < b.start; });
    const auto last =
        std::upper_bound(first, runs_.end(), run,
                         [](const PageRun& a, const PageRun& b) { return a.end < b.start; });
    if (first == last) {
        bytes_ += run.size();
        runs_.insert(first, run);
        return;
    }
    for (auto it = first; it != last; ++it) {
        bytes_ -= it->size();
        run.start = std::min(run.start, it->start);
        run.end = std::max(run.end, it->end);
    }
    bytes_ += run.size();
    *first = run;
    runs_.erase(first + 1, last);
}

void PageSet::add(const PageSet& other) {
    if (other.empty()) return;
    if (runs_.empty() || other.runs_.front().start >= runs_.back().start) {
        for (const PageRun& run : other.runs_) add(run);
    } else {
        *this = unite(*this, other);
    }
}

void PageSet::remove(PageRun run) {
    *this = subtract(*this, PageSet{run});
}

void PageSet::remove(const PageSet& other) {
    *this = subtract(*this, other);
}

void PageSet::clear() {
    runs_.clear();
    bytes_ = 0;
}

bool PageSet::contains(RemoteAddr address) const {
    const auto it = std::upper_bound(runs_.begin(), runs_.end(), address,
                                     [](RemoteAddr a, const PageRun& run) { return a < run.end; });
    return it != runs_.end() && it->contains(address);
}

PageSet PageSet::within(AddrRange range) const {
    PageSet result;
    auto it = std::upper_bound(runs_.begin(), runs_.end(), range.start,
                               [](RemoteAddr a, const PageRun& run) { return a < run.end; });
    for (; it != runs_.end() && it->start < range.end; ++it) {
        result.add({std::max(it->start, range.start), std::min(it->end, range.end)});
    }
    return result;
}

PageSet unite(const PageSet& a, const PageSet& b) {
    std::vector<PageRun> runs;
    runs.reserve(std::max(a.runs().size(), b.runs().size()));
    auto left = a.runs();
    auto right = b.runs();
    while (!left.empty() || !right.empty()) {
        auto& next = right.empty() || (!left.empty() && left.front().start <= right.front().start)
                         ? left
                         : right;
        append_joined(runs, next.front());
        next = next.subspan(1);
    }
    return from_sorted(runs);
}

PageSet subtract(const PageSet& a, const PageSet& b) {
    PageSet result;
    auto holes = b.runs();
    for (PageRun run : a.runs()) {
        while (!holes.empty() && holes.front().end <= run.start) holes = holes.subspan(1);
        // A hole that reaches beyond this run is kept for the next one.
        for (auto rest = holes; !rest.empty() && rest.front().start < run.end && !run.empty();
             rest = rest.subspan(1)) {
            result.add({run.start, std::min(run.end, rest.front().start)});
            run.start = std::max(run.start, rest.front().end);
        }
        result.add(run);
    }
    return result;
}

PageSet intersect(const PageSet& a, const PageSet& b) {
    PageSet result;
    auto left = a.runs();
    auto right = b.runs();
    while (!left.empty() && !right.empty()) {
        const PageRun& x = left.front();
        const PageRun& y = right.front();
        result.add({std::max(x.start, y.start), std::min(x.end, y.end)});
        if (x.end < y.end) {
            left = left.subspan(1);
        } else {
            right = right.subspan(1);
        }
    }
    return result;
}

Batches::Batches(const PageSet& set, Limits limits) : rest_(set.runs()), limits_(limits) {
    CHECK(limits_.bytes >= kPageSize);
    CHECK(limits_.runs >= 1);
    limits_.bytes = page_align_down(limits_.bytes);
    batch_.reserve(std::min(limits_.runs, rest_.size()));
}

std::span<const PageRun> Batches::next() {
    batch_.clear();
    std::uint64_t room = limits_.bytes;
    while (!rest_.empty() && room > 0 && batch_.size() < limits_.runs) {
        const PageRun left = {rest_.front().start + done_of_first_, rest_.front().end};
        const std::uint64_t take = std::min(left.size(), room);
        batch_.push_back({left.start, left.start + take});
        room -= take;
        done_of_first_ += take;
        if (take == left.size()) {
            rest_ = rest_.subspan(1);
            done_of_first_ = 0;
        }
    }
    return batch_;
}

}  // namespace ferry::pages
