#include "image/pidfd_codec.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>

namespace ferry::image {
namespace {

constexpr std::int32_t kEnded = -1;

// As of waitpid(2), of a process that has ended: by exit(2) or by a signal that ends.
bool is_end(std::int32_t status) {
    constexpr int kSignalBits = 0x7f, kStatusBits = 0xffff;
    const int signal = status & kSignalBits;
    constexpr int kHarmless[] = {SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP,
                                 SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH};
    return (status & ~kStatusBits) == 0 && signal < NSIG &&
           std::ranges::find(kHarmless, signal) == std::end(kHarmless);
}

}  // namespace

bool pidfd_to_wire(const model::OpenFile& file, const model::PidFile& pidfd, wire::PidfdFile& into,
                   wire::FerryFile& extra) {
    into.set_flags(file.flags & ~static_cast<std::uint32_t>(O_ACCMODE));
    into.set_ino(pidfd.inode);
    into.set_nspid(pidfd.task == 0 ? kEnded : pidfd.task);
    if (pidfd.exit_status) extra.set_exit_status(*pidfd.exit_status);
    return pidfd.exit_status.has_value();
}

Result<model::PidFile> pidfd_from_wire(const wire::PidfdFile& from, const wire::FerryFile& extra) {
    if (from.nspid() == 0 || from.nspid() < kEnded) return fail(Error::corrupt("a pidfd's task"));
    const bool ended = from.nspid() == kEnded;
    model::PidFile pidfd = {
        .task = ended ? 0 : from.nspid(), .inode = ended ? from.ino() : 0, .exit_status = {}};
    if (extra.has_exit_status()) {
        if (!ended || !is_end(extra.exit_status())) {
            return fail(Error::corrupt("the wait status of a pidfd's task"));
        }
        pidfd.exit_status = extra.exit_status();
    }
    return pidfd;
}

std::uint32_t pidfd_file_flags(std::uint32_t opening_flags) {
    return opening_flags | O_RDWR;
}

}  // namespace ferry::image
