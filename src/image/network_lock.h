// Between dump and restore nobody owns the connections of a dumped tree, and the kernel would
// answer their peers with resets. Whoever dumped leaves an nftables table that drops their packets,
// and whoever restores removes it. Its name follows from the images: "CRIU-" and the dump's run id,
// or, where the inventory has none, the root's pid (wire fact of CRIU 4.2), so that either engine
// finds it.
#pragma once

#include <string>

#include "base/error.h"
#include "base/types.h"
#include "image/store.h"

namespace ferry::image {

// The name of the table (family inet) for a tree that Ferry dumps.
[[nodiscard]] std::string network_lock_name(Pid root);

// The name for the dump in this store; empty: the dump was made without a lock that Ferry can
// remove.
Result<std::string> read_network_lock(const ImageStore& from);

}  // namespace ferry::image
