// memfd_create(2). A memfd is an inode without a path; the open files and mappings of it refer to
// that. Its content is shared memory (model/checkpoint.h) and is carried apart from what is here.
// Not seen: a process outside of the tree that has a descriptor of it but no mapping.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"

namespace ferry::resources {

// What a procfs link to one leads to, with or without " (deleted)".
[[nodiscard]] bool is_memfd(std::string_view target);

// The memfds of a tree. Keeps each open, so that its state and content can be read whoever closes
// or unmaps it meanwhile.
class MemfdTable {
  public:
    // What is not noted from here on is forgotten by all().
    void begin();
    // `link` is a procfs link to a memfd; `holder` says for messages who has it. Unsupported, by
    // name: one of huge pages. Gone: the link leads nowhere any more.
    Result<model::MemoryFile> note(const std::string& link, const std::string& holder);
    // As they are now, ascending by inode.
    Result<std::vector<model::MemoryFile>> all();
    // One that was noted.
    [[nodiscard]] Result<model::MemoryFile> now(std::uint64_t inode) const;

  private:
    struct Known {
        os::UniqueFd fd;
        std::string name;
        bool noted = false;
    };
    std::map<std::uint64_t, Known> known_;
};

// The other half: `object` is our descriptor of the memory. Opened anew, so that descriptors which
// were not of one open file are not here either; but one of them is the open file that
// memfd_create(2) made: unlike others that can be written, it does not keep the content from being
// executed (execveat(2), ETXTBSY).
enum class MemfdFile : std::uint8_t { Original, Another };
Result<os::UniqueFd> open_memfd(const model::MemoryFile& file, int object, std::uint32_t flags,
                                MemfdFile which);
// Makes one without content, that can still grow and be sealed.
Result<os::UniqueFd> make_memfd(const model::MemoryFile& file);
// When all content is in: size, mode, owner, seals.
Result<> finish_memfd(int object, const model::MemoryFile& file);

}  // namespace ferry::resources
