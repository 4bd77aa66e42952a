// userfaultfd(2) as it is used for tracking writes: asynchronous write-protection (Linux 6.7),
// where the kernel resolves each fault by itself and nobody has to read events. The ioctls act on
// the address space of the process that created the descriptor, so they work from outside through a
// duplicate of it.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "base/types.h"
#include "os/fd.h"

namespace ferry::os {

// What Ferry passes to userfaultfd(2) (also as a remote call in a task): with UFFD_USER_MODE_ONLY
// no privilege is needed (vm.unprivileged_userfaultfd = 0), and asynchronous protection works for
// the kernel's own writes into the task's memory all the same.
inline constexpr int kUserfaultFlags = 1 | 02000000;  // UFFD_USER_MODE_ONLY | O_CLOEXEC

// In our own address space. Kind::Unsupported where the kernel lacks it.
Result<UniqueFd> userfaultfd(int flags = kUserfaultFlags);

// UFFDIO_API with WP_ASYNC and WP_UNPOPULATED; once per descriptor, before anything else.
// Kind::Unsupported where the kernel does not know them.
Result<> userfault_enable_async_protection(int userfault);

// UFFDIO_REGISTER for write-protection of every mapping in the range; what is registered already
// stays as it is, holes are skipped. False: nothing is mapped there any more. Kind::Gone: the
// address space is gone (exit or execve(2)). EPERM: a shared mapping that is not writable; EBUSY:
// another userfaultfd has it.
Result<bool> userfault_register_protection(int userfault, AddrRange range);
// UFFDIO_WRITEPROTECT with mode 0: the pages count as written again. False: a part of the range is
// not registered (any more), and some pages may not have been reached.
Result<bool> userfault_unprotect(int userfault, AddrRange range);
// UFFDIO_WRITEPROTECT with its mode: the pages count as not written, also those of a shared mapping
// that this address space has no entry for. False: as above.
Result<bool> userfault_protect(int userfault, AddrRange range);
// UFFDIO_UNREGISTER: drops the protection of the pages as well. Nothing mapped there is success.
Result<> userfault_unregister(int userfault, AddrRange range);

}  // namespace ferry::os
