#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace ferry {

void check_failed(const char* expression, const char* file, int line) noexcept {
    std::fprintf(stderr, "ferry: bug: CHECK(%s) failed at %s:%d\n", expression, file, line);
    std::abort();
}

}  // namespace ferry
