#include "proc/syscall.h"

#include "proc/text.h"

namespace ferry::proc {

Result<Syscall> parse_syscall(std::string_view text) {
    Syscall call;
    const std::string_view first = take_word(text);
    if (first == "running") {
        call.is_running = true;
        return call;
    }
    const auto number = to_number<long>(first);
    if (!number) return fail(Error::corrupt("syscall: no number"));
    call.number = *number;
    if (call.number < 0) return call;
    constexpr std::string_view kPrefix = "0x";
    constexpr int kHexadecimal = 16;
    for (std::uint64_t& argument : call.arguments) {
        std::string_view word = take_word(text);
        if (!word.starts_with(kPrefix)) return fail(Error::corrupt("syscall: an argument"));
        word.remove_prefix(kPrefix.size());
        const auto value = to_number<std::uint64_t>(word, kHexadecimal);
        if (!value) return fail(Error::corrupt("syscall: an argument"));
        argument = *value;
    }
    return call;
}

}  // namespace ferry::proc
