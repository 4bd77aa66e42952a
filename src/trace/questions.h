// Questions to the kernel that only the task itself can ask, collected first and then put all at
// once: each stop of a thread costs more than all its system calls together (RemoteCalls::start).
//
//   Questions questions(calls);
//   TRY(questions.ask<stack_t>(SYS_sigaltstack, {0}, 1, [&](const stack_t& s) { ... }));
//   TRY(questions.ask_result(SYS_brk, 0, [&](std::uint64_t brk) { ... }));
//   TRY(questions.put());
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "trace/remote_calls.h"

namespace ferry::trace {

class Questions {
  public:
    explicit Questions(RemoteCalls& calls) : calls_(&calls) {}

    // A call that fills a T at the address given by its argument number `out` (0..5). `take` gets
    // it when the questions are put, which may be at once if there is no room for more.
    template <class T, class Take>
    Result<> ask(long number, std::array<std::uint64_t, 6> arguments, std::size_t out, Take take) {
        const std::size_t offset = TRY(reserve(sizeof(T)));
        arguments[out] = calls_->scratch(offset).value;
        calls_list_.push_back({.number = number, .arguments = arguments, .result = 0});
        takers_.push_back([=](std::span<const std::byte> replies) {
            T value{};
            std::memcpy(&value, replies.data() + offset, sizeof(T));
            take(value);
        });
        expect_answer(number, offset, sizeof(T));
        return {};
    }
    // A call of one argument whose result is the answer.
    template <class Take>
    Result<> ask_result(long number, std::uint64_t argument, Take take) {
        const std::size_t offset = TRY(reserve(sizeof(std::uint64_t)));
        calls_list_.push_back(
            {.number = number, .arguments = {argument}, .result = calls_->scratch(offset).value});
        takers_.push_back([=](std::span<const std::byte> replies) {
            std::uint64_t value = 0;
            std::memcpy(&value, replies.data() + offset, sizeof(value));
            take(value);
        });
        expect_answer(number, offset, sizeof(std::uint64_t));
        return {};
    }
    // Makes the calls and hands out the answers. Unsupported if the kernel left one unanswered.
    Result<> put();
    // The two halves of put(): several threads can be asked at the same time.
    Result<> start();
    Result<> finish();

  private:
    struct Expected {
        long number = 0;
        std::size_t offset = 0, size = 0;
    };
    Result<std::size_t> reserve(std::size_t bytes);
    void expect_answer(long number, std::size_t offset, std::size_t size) {
        expected_.push_back({.number = number, .offset = offset, .size = size});
    }

    RemoteCalls* calls_;
    std::vector<arch::Call> calls_list_;
    std::vector<Expected> expected_;
    std::vector<std::function<void(std::span<const std::byte>)>> takers_;
    std::size_t used_ = 0;  // of the scratch
};

}  // namespace ferry::trace
