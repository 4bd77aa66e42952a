#include "migrate/no_convergence.h"

#include <fmt/format.h>

namespace ferry::migrate {

std::string describe_long_freeze(std::chrono::duration<double> max_downtime, std::string_view rule,
                                 std::chrono::duration<double> expected) {
    return fmt::format(
        "--max-downtime of {:.0f} ms cannot be kept: {}; the service would stand still for "
        "{:.0f} ms",
        max_downtime.count() * 1000.0, rule, expected.count() * 1000.0);
}

}  // namespace ferry::migrate
