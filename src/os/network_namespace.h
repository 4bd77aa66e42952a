// A network namespace that is held open, whoever else leaves it.
//
// Sockets and files of /proc/sys/net belong to the namespace in which they were opened for as long
// as they live, so most work on another namespace is: enter, open, leave, and use what was opened.
//
// Source relied upon: network_namespaces(7), setns(2).
#pragma once

#include <string>
#include <type_traits>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"
#include "os/scope.h"

namespace ferry::os {

class NetworkNamespace {
  public:
    // The calling thread's.
    static Result<NetworkNamespace> own();
    // A new one with nothing but a loopback device that is down; it goes with the last descriptor.
    static Result<NetworkNamespace> make();
    // Gone: there is no such process. A pid is not checked again: hold its pidfd meanwhile.
    static Result<NetworkNamespace> of(Pid pid);
    // One that is kept by a file, as by ip-netns(8).
    static Result<NetworkNamespace> at(const std::string& path);

    // For the calling thread only.
    [[nodiscard]] Result<NetworkScope> enter() const { return NetworkScope::enter(fd_.get()); }

    // f() inside; it returns a Result.
    template <class F>
    std::invoke_result_t<F> within(F f) const {
        const NetworkScope inside = TRY(enter());
        return f();
    }

    [[nodiscard]] Result<bool> is(const NetworkNamespace& other) const;
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit NetworkNamespace(UniqueFd fd) : fd_(std::move(fd)) {}
    UniqueFd fd_;
};

}  // namespace ferry::os
