// Errors are values: every operation that can fail because of the world returns Result<T>.
// A bug in our own code is never an Error; that is what CHECK (base/check.h) is for.
#pragma once

#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace ferry {

// Why an operation did not succeed. Callers act on kind() or code(), never on the text.
class Error {
  public:
    enum class Kind {
        System,       // a system call failed; code() is its errno
        Gone,         // the task, peer or object vanished meanwhile
        Unsupported,  // a feature that Ferry refuses by name
        Corrupt,      // foreign bytes (image, wire, procfs) that make no sense
        Limit,        // a named limit was exceeded
        Invalid,      // the caller's input (arguments, options) is wrong
        Aborted,      // somebody asked us to stop
        Peer,         // the other side reported a failure
    };

    [[nodiscard]] static Error system(int code, std::string message,
                                      std::source_location place = std::source_location::current());
    [[nodiscard]] static Error make(Kind kind, std::string message,
                                    std::source_location place = std::source_location::current());
    [[nodiscard]] static Error gone(std::string m,
                                    std::source_location p = std::source_location::current()) {
        return make(Kind::Gone, std::move(m), p);
    }
    [[nodiscard]] static Error unsupported(
        std::string m, std::source_location p = std::source_location::current()) {
        return make(Kind::Unsupported, std::move(m), p);
    }
    [[nodiscard]] static Error corrupt(std::string m,
                                       std::source_location p = std::source_location::current()) {
        return make(Kind::Corrupt, std::move(m), p);
    }
    [[nodiscard]] static Error limit(std::string m,
                                     std::source_location p = std::source_location::current()) {
        return make(Kind::Limit, std::move(m), p);
    }
    [[nodiscard]] static Error invalid(std::string m,
                                       std::source_location p = std::source_location::current()) {
        return make(Kind::Invalid, std::move(m), p);
    }
    [[nodiscard]] static Error aborted(std::string m,
                                       std::source_location p = std::source_location::current()) {
        return make(Kind::Aborted, std::move(m), p);
    }
    [[nodiscard]] static Error peer(std::string m,
                                    std::source_location p = std::source_location::current()) {
        return make(Kind::Peer, std::move(m), p);
    }

    [[nodiscard]] Kind kind() const { return kind_; }
    // errno of the failed call; 0 unless kind() is System.
    [[nodiscard]] int code() const { return code_; }
    // "dump of web: thread 4711: ptrace(PTRACE_SEIZE, 4711): EPERM"
    [[nodiscard]] const std::string& message() const { return message_; }
    // message() plus the place of origin: "... (tracee.cc:88)".
    [[nodiscard]] std::string describe() const;
    // Prepends "what: ". Each level that knows more adds its context.
    [[nodiscard]] Error context(std::string_view what) &&;

  private:
    Kind kind_ = Kind::System;
    int code_ = 0;
    std::string message_;
    std::source_location place_;
};

template <class T = void>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(Error error) {
    return std::unexpected<Error>(std::move(error));
}

// "EPERM" for 1; "errno 999" where libc knows no name.
[[nodiscard]] std::string errno_name(int code);

// The value out of a successful result; for TRY.
template <class T>
T take_value(Result<T>& result) {
    return std::move(*result);
}
inline void take_value(Result<void>&) {}

template <class T>
[[nodiscard]] Result<T> with_context(Result<T> result, std::string_view what) {
    if (!result) return fail(std::move(result.error()).context(what));
    return result;
}

}  // namespace ferry

// Evaluates a Result expression: its value on success, an early return of its error otherwise.
// The counter gives each expansion its own variable, so that one TRY may stand inside another.
#define FERRY_TRY(expression, name)                               \
    __extension__({                                               \
        auto name = (expression);                                 \
        if (!name) return ::ferry::fail(std::move(name.error())); \
        ::ferry::take_value(name);                                \
    })
#define FERRY_TRY_NAMED(expression, counter) FERRY_TRY(expression, try_result_##counter)
#define FERRY_TRY_COUNTED(expression, counter) FERRY_TRY_NAMED(expression, counter)
#define TRY(expression) FERRY_TRY_COUNTED(expression, __COUNTER__)
