// System V shared memory segments of the calling thread's IPC namespace. Their content is read and
// written as that of any shared memory (pages/shared_object.h), through a descriptor of what lies
// behind them.
#pragma once

#include <vector>

#include "base/error.h"
#include "model/ipc.h"
#include "os/fd.h"
#include "os/system_v.h"

namespace ferry::resources {

struct FoundSegment {
    model::IpcSegment segment;
    std::uint64_t mappings = 0;  // of it, wherever
};
Result<std::vector<FoundSegment>> find_segments();

// What lies behind a segment, for reading. It is attached for a moment. Unsupported: huge pages.
Result<os::UniqueFd> open_segment(const model::IpcSegment& segment);

// A segment at the destination. While we stage it is attached to us, so that it does not go with a
// stub, and everybody may attach it.
class NewSegment {
  public:
    // Needs CAP_CHECKPOINT_RESTORE (Linux 5.9).
    static Result<NewSegment> make(const model::IpcSegment& wanted);

    // Of what lies behind it, for writing.
    [[nodiscard]] int fd() const { return fd_.get(); }
    // Its key is free; the segment goes with its last mapping.
    Result<> remove();
    // Owner, lock and removal as wanted, and it is attached to us no more.
    Result<> settle(const model::IpcSegment& wanted);

  private:
    NewSegment(int id, os::Attachment attached, os::UniqueFd fd)
        : id_(id), attached_(std::move(attached)), fd_(std::move(fd)) {}
    int id_;
    os::Attachment attached_;
    os::UniqueFd fd_;
    bool removed_ = false;
};

}  // namespace ferry::resources
