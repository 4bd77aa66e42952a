// A system call by number, for probing what the kernel knows. What Ferry uses for its work has a
// wrapper of its own.
#pragma once

#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace ferry::os {

Result<long> raw_syscall_words(std::string_view name, long number, const long (&arguments)[6]);

// Integers and pointers. `name` is for the error message.
template <class... Arguments>
Result<long> raw_syscall(std::string_view name, long number, Arguments... arguments) {
    const auto word = [](auto value) {
        if constexpr (std::is_null_pointer_v<decltype(value)>) {
            return 0L;
        } else if constexpr (std::is_pointer_v<decltype(value)>) {
            return reinterpret_cast<long>(value);
        } else {
            return static_cast<long>(value);
        }
    };
    const long words[6] = {word(arguments)...};
    return raw_syscall_words(name, number, words);
}

}  // namespace ferry::os
