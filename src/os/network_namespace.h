// A network namespace that is held open, whoever else leaves it, and entering it for a while.
//
// Sockets and files of /proc/sys/net belong to the namespace in which they were opened for as long
// as they live, so most work on another namespace is: enter, open, leave, and use what was opened.
//
// Source relied upon: network_namespaces(7), setns(2).
#pragma once

#include <type_traits>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

class NetworkNamespace {
  public:
    // The calling thread's.
    static Result<NetworkNamespace> own();
    // Gone: there is no such process. A pid is not checked again: hold its pidfd meanwhile.
    static Result<NetworkNamespace> of(Pid pid);

    // The calling thread is inside until the end of this object's life; for that thread only. That
    // a thread cannot go back where it came from is a bug (CHECK).
    class Stay {
      public:
        Stay(Stay&&) noexcept = default;
        Stay& operator=(Stay&&) = delete;
        Stay(const Stay&) = delete;
        Stay& operator=(const Stay&) = delete;
        ~Stay();

      private:
        friend class NetworkNamespace;
        explicit Stay(UniqueFd back) : back_(std::move(back)) {}
        UniqueFd back_;
    };
    [[nodiscard]] Result<Stay> enter() const;

    // f() inside; it returns a Result.
    template <class F>
    std::invoke_result_t<F> within(F f) const {
        const Stay inside = TRY(enter());
        return f();
    }

    [[nodiscard]] Result<bool> is(const NetworkNamespace& other) const;
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit NetworkNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace ferry::os
