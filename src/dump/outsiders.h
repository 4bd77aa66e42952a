// Who outside of the tree shares memory with it: such memory would no longer be shared with a
// process that stays behind.
#pragma once

#include <cstdint>
#include <set>
#include <span>

#include "base/error.h"
#include "model/checkpoint.h"
#include "os/process.h"

namespace ferry::dump {

// Remembers whom it has looked at: a process that did not map an object when it was looked at does
// not come to map it later, unless it is of the tree, or is given a descriptor of the object
// (which only a memfd has). So repeated looks read the mappings of new processes only.
class Outsiders {
  public:
    // Unsupported: shared memory of the tree is mapped by a process outside of it, by name.
    // Processes that end meanwhile, or that we may not look at, are passed over.
    Result<> check(const model::Checkpoint& checkpoint);

  private:
    std::set<os::ProcessEntry> seen_;
    std::set<std::uint64_t> objects_;  // which seen_ is about
};

}  // namespace ferry::dump
