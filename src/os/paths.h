// Calls on names in the file system that os/fd.h does not have.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/error.h"

namespace ferry::os {

Result<> mkfifo(const std::string& path, mode_t mode);
Result<> rename(const std::string& from, const std::string& to);
Result<> chmod(const std::string& path, mode_t mode);
// A new directory for us alone (mkdtemp(3)); its path.
Result<std::string> mkdtemp(const std::string& prefix);
Result<> chown(const std::string& path, uid_t user, gid_t group);
// linkat(2), AT_EMPTY_PATH: a name for the file behind a descriptor (CAP_DAC_READ_SEARCH), also for
// one that was made without (O_TMPFILE).
Result<> link_descriptor(int fd, const std::string& path);

}  // namespace ferry::os
