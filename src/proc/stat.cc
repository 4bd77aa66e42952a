#include "proc/stat.h"

#include <fmt/format.h>

#include <array>

#include "proc/text.h"

namespace ferry::proc {
namespace {

// Fields 3 (state) to 52 (exit_code), which follow the command's name.
constexpr std::size_t kFirstField = 3;
constexpr std::size_t kFields = 50;

class Fields {
  public:
    explicit Fields(std::string_view text) {
        for (auto& word : words_) word = take_word(text);
    }
    [[nodiscard]] bool complete() const { return !words_.back().empty(); }
    [[nodiscard]] std::string_view word(std::size_t number) const {
        return words_[number - kFirstField];
    }
    // Sets `into` from the field with the manual page's number.
    template <class T>
    void read(std::size_t number, T& into) {
        const auto value = to_number<T>(word(number));
        if (!value) {
            bad_ = number;
            return;
        }
        into = *value;
    }
    // 0, or the number of a field that was not a number.
    [[nodiscard]] std::size_t bad() const { return bad_; }

  private:
    std::array<std::string_view, kFields> words_;
    std::size_t bad_ = 0;
};

}  // namespace

Result<Stat> parse_stat(std::string_view text) {
    // The name may hold blanks and parentheses: it ends at the last one.
    const auto open = text.find('(');
    const auto close = text.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
        return fail(Error::corrupt("stat: no command name"));
    }
    Stat stat;
    const auto pid = to_number<pid_t>(text.substr(0, open == 0 ? 0 : open - 1));
    if (!pid) return fail(Error::corrupt("stat: no pid"));
    stat.pid.value = *pid;
    stat.comm = text.substr(open + 1, close - open - 1);
    Fields fields(text.substr(close + 1));
    if (!fields.complete()) return fail(Error::corrupt("stat: too few fields"));
    stat.state = fields.word(3).front();
    fields.read(4, stat.parent.value);
    fields.read(5, stat.group.value);
    fields.read(6, stat.session.value);
    fields.read(7, stat.tty);
    fields.read(8, stat.foreground.value);
    fields.read(9, stat.flags);
    fields.read(11, stat.child_minor_faults);
    fields.read(18, stat.priority);
    fields.read(19, stat.nice);
    fields.read(20, stat.thread_count);
    fields.read(22, stat.start_time);
    fields.read(26, stat.start_code);
    fields.read(27, stat.end_code);
    fields.read(28, stat.start_stack);
    fields.read(40, stat.rt_priority);
    fields.read(41, stat.policy);
    fields.read(45, stat.start_data);
    fields.read(46, stat.end_data);
    fields.read(47, stat.start_brk);
    fields.read(48, stat.arg_start);
    fields.read(49, stat.arg_end);
    fields.read(50, stat.env_start);
    fields.read(51, stat.env_end);
    fields.read(52, stat.exit_code);
    if (fields.bad() != 0) {
        return fail(Error::corrupt(fmt::format("stat: field {} is not a number", fields.bad())));
    }
    return stat;
}

}  // namespace ferry::proc
