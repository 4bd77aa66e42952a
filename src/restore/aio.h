// Contexts of io_setup(2) in a stub (resources/aio.h).
#pragma once

#include "base/error.h"
#include "model/process.h"
#include "restore/stub.h"

namespace ferry::restore {

// Makes each context of the process anew, with its ring where it was, the events in it that were
// not read, and the place at which the kernel writes the next one. All mappings are in place by
// then, and the process has no descriptors yet. Unsupported: the kernel makes larger rings here
// (more processors), or the image does not hold the ring. A ring is moved by mremap(2), which tells
// the kernel the context's new name (Linux 3.19, aio_ring_mremap).
Result<> restore_aio(StubProcess& process, const model::Process& wanted);

}  // namespace ferry::restore
