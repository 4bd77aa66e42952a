// Pipes and FIFOs: capacity and unread content, read from outside without consuming it.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"

namespace ferry::resources {

// `end` is a duplicate of either end. Content is read with tee(2), which needs a read end: with
// `readable` false it stays unread, because nobody in the tree could read it either.
Result<model::Pipe> read_pipe(int end, std::uint32_t id, bool readable);

// Makes pipes with their content; each end is opened once per description.
class PipeOpener {
  public:
    // `content` stays referred to until open() was called for the last end.
    void announce(const model::Pipe& content);
    // flags as of F_GETFL. `path` leads to it, if it is a FIFO. Corrupt: the pipe was not
    // announced.
    Result<os::UniqueFd> open(const model::PipeEnd& end, const std::string& path,
                              std::uint32_t flags);

  private:
    struct Made {
        os::UniqueFd reader, writer;
        bool is_fifo = false;
    };
    Result<Made*> make(const model::PipeEnd& end, const std::string& path);
    std::map<std::uint32_t, const model::Pipe*> content_;
    std::map<std::uint32_t, Made> made_;
};

}  // namespace ferry::resources
