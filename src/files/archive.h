// What the source of trees of files says (records.h), kept in a file until a destination takes it
// (docs/format/files.md).
//
// Some of what is in a tree comes from elsewhere and will be where the archive is read, too: the
// image of a container. That is its base, and of a file that is as it is there no content is kept.
//
// One thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "files/incoming.h"
#include "files/outgoing.h"
#include "files/tree_root.h"
#include "os/fd.h"

namespace ferry::files {

class ArchiveWriter final : public Destination {
  public:
    // `file` is empty. `bases`: by tree; nullopt: it has none.
    static Result<std::unique_ptr<ArchiveWriter>> begin(os::UniqueFd file,
                                                        std::vector<std::optional<TreeRoot>> bases);
    Result<std::vector<Wanted>> offer(std::span<const std::byte> records) override;
    Result<> send(std::span<const std::byte> records) override;
    // Without this the archive is none.
    Result<> finish();

  private:
    ArchiveWriter(os::UniqueFd file, std::vector<std::optional<TreeRoot>> bases)
        : file_(std::move(file)), bases_(std::move(bases)) {}
    Result<bool> is_in_base(const Record& record);

    os::UniqueFd file_;
    std::vector<std::optional<TreeRoot>> bases_;
};

class ArchiveReader {
  public:
    // Corrupt: it is no archive, or not whole.
    static Result<ArchiveReader> open(os::UniqueFd file);
    // Once. Invalid, with its name: a file was as in its base, and is something else here.
    Result<> apply(Incoming& into);

  private:
    explicit ArchiveReader(os::UniqueFd file) : file_(std::move(file)) {}
    os::UniqueFd file_;
};

}  // namespace ferry::files
