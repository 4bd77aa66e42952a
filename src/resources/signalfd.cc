#include "resources/signalfd.h"

#include <fmt/format.h>

#include "os/description.h"

namespace ferry::resources {

Result<model::SignalFd> read_signalfd(const Slot& slot) {
    if (slot.info.signal_mask) return model::SignalFd{.mask = *slot.info.signal_mask};
    return fail(Error::corrupt(fmt::format("{}: signalfd without a mask", slot.holder.text())));
}

Result<os::UniqueFd> open_signalfd(const model::SignalFd& signals) {
    return os::signalfd(signals.mask);
}

}  // namespace ferry::resources
