// Where the standard streams of a container that is made here lead, as far as they lead out of it:
// a file is the one of the same path here, what went into a pipe is appended to a file, everything
// else is /dev/null. Files that were made for it and have stayed empty go with this object, until
// keep(). Whoever has been given one may want to open it again (/dev/stdout).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "os/fd.h"

namespace ferry::container {

using StreamLinks = std::array<std::string, 3>;  // as of proc_pid_fd(5), by number

class Streams {
  public:
    Streams() = default;
    Streams(Streams&&) noexcept = default;
    Streams& operator=(Streams&&) noexcept = default;
    ~Streams();

    // `originals` are the container's at its source, `output` takes what went into a pipe; its
    // directory is made. Invalid, with the path: one cannot be opened here.
    static Result<Streams> open(const StreamLinks& originals, const std::string& output);

    // Of a container whose streams are its terminal, and lead nowhere. `output`, if there is one,
    // is number 1, for what it writes there.
    static Result<Streams> terminal(const std::string& output);

    // Those of somebody who takes what the container writes.
    static Result<Streams> given(std::vector<os::UniqueFd> fds);

    [[nodiscard]] int fd(int number) const;
    // What they are here.
    [[nodiscard]] const StreamLinks& links() const { return links_; }
    // What belongs to nobody else, pipes and the files that were made, becomes this user's: a
    // program of his may open it by /proc/self/fd. Its group stays. What a runtime does for what it
    // is given; it makes the container for another user here, so call it when it has.
    void give_to(std::uint32_t user) const;
    void keep() { made_.clear(); }

  private:
    Result<> open_one(std::size_t number, const std::string& original, const std::string& output);
    std::array<os::UniqueFd, 3> fds_;
    StreamLinks links_;
    std::vector<std::string> made_;
};

}  // namespace ferry::container
