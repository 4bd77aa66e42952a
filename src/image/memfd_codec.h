// memfds to and from memfd.img, a record for each inode, which the files in files.img refer to by a
// number of the image. Private to image/.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.h"
#include "image/store.h"
#include "model/files.h"

namespace ferry::image {

class MemfdInodes {
  public:
    // Writing: the number of the file's inode; a new one where it has none yet.
    std::uint32_t number_of(const model::MemoryFile& file);
    // Nothing where there are none. Limit: an inode number that the format has no room for.
    Result<> put(ImageStore& into) const;

    // Empty where there is no memfd.img.
    static Result<MemfdInodes> get(const ImageStore& from);
    // Corrupt: there is none with this number. The position is not filled in.
    [[nodiscard]] Result<model::MemoryFile> file_of(std::uint32_t number) const;

  private:
    std::map<std::uint64_t, std::uint32_t> numbers_;    // by inode
    std::map<std::uint32_t, model::MemoryFile> files_;  // by number
};

}  // namespace ferry::image
