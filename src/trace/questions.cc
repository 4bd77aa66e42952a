#include "trace/questions.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferry::trace {
namespace {

// No answer begins like this: addresses, counts and seconds are all smaller.
constexpr std::byte kUnanswered{0xff};
constexpr std::size_t kAnswerAlignment = 8;

}  // namespace

Result<std::size_t> Questions::reserve(std::size_t bytes) {
    const std::size_t size = (bytes + kAnswerAlignment - 1) / kAnswerAlignment * kAnswerAlignment;
    if (used_ + size > arch::BorrowedStack::kScratchBytes) TRY(put());
    const std::size_t offset = used_;
    used_ += size;
    return offset;
}

Result<> Questions::put() {
    TRY(start());
    return finish();
}

Result<> Questions::start() {
    if (calls_list_.empty()) return {};
    TRY(calls_->write_scratch(std::vector<std::byte>(used_, kUnanswered)));
    return calls_->start(calls_list_);
}

Result<> Questions::finish() {
    if (calls_list_.empty()) return {};
    TRY(calls_->finish());
    std::vector<std::byte> replies(used_);
    TRY(calls_->read_scratch(replies));
    for (const Expected& answer : expected_) {
        const auto bytes =
            std::span(replies).subspan(answer.offset, std::min<std::size_t>(8, answer.size));
        if (std::ranges::all_of(bytes, [](std::byte b) { return b == kUnanswered; })) {
            return fail(Error::unsupported(
                fmt::format("the kernel gives no answer to system call {}", answer.number)));
        }
    }
    for (const auto& take : takers_) take(replies);
    calls_list_.clear();
    expected_.clear();
    takers_.clear();
    used_ = 0;
    return {};
}

}  // namespace ferry::trace
