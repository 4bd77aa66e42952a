// Pseudo-terminals to and from tty-info.img, which has a record for each end that is open. Private
// to image/.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::image {

// The number of an end's record, which is CRIU's.
[[nodiscard]] std::uint32_t terminal_record(std::uint32_t index, bool is_master);

// Nothing where there are none.
Result<> put_terminals(const model::Checkpoint& checkpoint, ImageStore& into,
                       wire::FerryCheckpoint& extra);

// What the numbers in files.img mean.
class TerminalRecords {
  public:
    // Empty where there is no tty-info.img.
    static Result<TerminalRecords> get(const ImageStore& from, const wire::FerryCheckpoint& extra);
    // Nothing: no end of a pair whose master the image has, nor of the one that a runtime made.
    [[nodiscard]] std::optional<model::TerminalFile> find(std::uint32_t number) const;
    // The mode of a slave's device, which is in its regular file's record.
    void note_slave(std::uint32_t index, std::uint32_t mode) { slave_modes_[index] = mode & 07777; }
    // The pairs, when files and processes are known: whose master has which path, and which
    // processes they control.
    Result<> finish(const wire::FerryCheckpoint& extra, model::Checkpoint& into) const;

  private:
    std::map<std::uint32_t, model::TerminalFile> ends_;   // by number, without paths
    std::map<std::uint32_t, model::Terminal> terminals_;  // by index, of those that are carried
    std::map<std::uint32_t, std::uint32_t> slave_modes_;  // by index
};

}  // namespace ferry::image
