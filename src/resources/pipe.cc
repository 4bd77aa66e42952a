#include "resources/pipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>

#include "base/limits.h"
#include "os/description.h"

namespace ferry::resources {
namespace {

// O_LARGEFILE of the kernel; libc's is 0. open(2) sets it, pipe(2) does not.
constexpr std::uint32_t kLargeFile = 0100000;

Result<> resize(int pipe, std::uint32_t bytes) {
    if (static_cast<std::uint32_t>(TRY(os::fcntl(pipe, F_GETPIPE_SZ))) == bytes) return {};
    TRY(with_context(os::fcntl(pipe, F_SETPIPE_SZ, bytes), "capacity of a pipe"));
    return {};
}

Result<> read_content(int reader, std::uint32_t unread, model::Pipe& pipe) {
    const auto [our_reader, our_writer] = TRY(os::pipe2(O_NONBLOCK));
    TRY(resize(our_writer.get(), pipe.bytes));
    const std::size_t shown = TRY(os::tee(reader, our_writer.get(), unread));
    if (shown != unread) {
        return fail(Error::corrupt(fmt::format("{} of {} bytes of a pipe", shown, unread)));
    }
    pipe.content.resize(unread);
    return os::read_all(our_reader.get(), pipe.content);
}

}  // namespace

Result<model::Pipe> read_pipe(int end, std::uint32_t id, bool readable) {
    model::Pipe pipe;
    pipe.id = id;
    pipe.bytes = static_cast<std::uint32_t>(TRY(os::fcntl(end, F_GETPIPE_SZ)));
    int unread = 0;
    TRY(os::ioctl(end, FIONREAD, &unread));
    if (unread <= 0 || !readable) return pipe;
    if (static_cast<std::uint32_t>(unread) > limits::kQueueBytesMax) {
        return fail(Error::limit(fmt::format("a pipe with {} bytes", unread)));
    }
    TRY(read_content(end, static_cast<std::uint32_t>(unread), pipe));
    return pipe;
}

void PipeOpener::announce(const model::Pipe& content) {
    content_[content.id] = &content;
}

Result<PipeOpener::Made*> PipeOpener::make(const model::PipeEnd& end, const std::string& path) {
    const auto known = made_.find(end.pipe_id);
    if (known != made_.end()) return &known->second;
    const auto content = content_.find(end.pipe_id);
    if (content == content_.end()) {
        return fail(Error::corrupt(fmt::format("pipe {} has no data record", end.pipe_id)));
    }
    Made made;
    made.is_fifo = !path.empty();
    if (made.is_fifo) {
        // Both ways, so that neither this open nor a later one waits for its other end (fifo(7)).
        made.writer = TRY(os::open(path, O_RDWR | O_NONBLOCK));
        const struct stat status = TRY(os::fstat(made.writer.get()));
        if (!S_ISFIFO(status.st_mode)) {
            return fail(Error::invalid(fmt::format("{} is no FIFO here", end.path)));
        }
    } else {
        auto [reader, writer] = TRY(os::pipe2(O_NONBLOCK));
        made.reader = std::move(reader);
        made.writer = std::move(writer);
    }
    const model::Pipe& pipe = *content->second;
    TRY(resize(made.writer.get(), pipe.bytes));
    TRY(with_context(os::write_all(made.writer.get(), pipe.content), "content of a pipe"));
    return &made_.emplace(end.pipe_id, std::move(made)).first->second;
}

Result<os::UniqueFd> PipeOpener::open(const model::PipeEnd& end, const std::string& path,
                                      std::uint32_t flags) {
    Made& made = *TRY(make(end, path));
    // O_DIRECT (packet mode) follows by F_SETFL with the other status flags.
    const int how = static_cast<int>(flags & (O_ACCMODE | O_NONBLOCK));
    if (made.is_fifo) return os::open(path, how);
    const bool reads = (flags & O_ACCMODE) == O_RDONLY;
    const int own = reads ? made.reader.get() : made.writer.get();
    // What pipe(2) made itself, as opposed to what was opened through /proc later.
    if ((flags & kLargeFile) == 0) return os::dup(own);
    return os::open(fmt::format("/proc/self/fd/{}", own), how);
}

}  // namespace ferry::resources
