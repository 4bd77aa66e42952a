#include "os/raw_syscall.h"

#include <unistd.h>

#include <cerrno>
#include <string>

namespace ferry::os {

Result<long> raw_syscall_words(std::string_view name, long number, const long (&a)[6]) {
    const long result = ::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result != -1) return result;
    const int code = errno;
    return fail(Error::system(code, std::string(name)));
}

}  // namespace ferry::os
