// CHECK: an assertion that stays on in every build. For bugs in our own code only; anything that
// the world can cause (a full disk, a vanished task, hostile bytes) is an Error.
#pragma once

namespace ferry {
[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;
}

#define CHECK(expression)                               \
    (__builtin_expect(static_cast<bool>(expression), 1) \
         ? static_cast<void>(0)                         \
         : ::ferry::check_failed(#expression, __FILE__, __LINE__))
