#include "resources/posix_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "os/description.h"
#include "os/message_queue.h"
#include "os/process.h"

namespace ferry::resources {
namespace {

constexpr std::uint32_t kPermissions = 07777;

// One as it is found.
struct Found {
    os::UniqueFd fd;  // O_RDWR | O_NONBLOCK
    std::string name;
    bool unlinked = false;
};

// The number after `key` of "QSIZE:129  NOTIFY:2  SIGNO:0  NOTIFY_PID:8260", what reading a queue
// gives (mq_overview(7)).
Result<int> number_after(std::string_view text, std::string_view key) {
    const std::size_t at = text.find(key);
    int number = 0;
    if (at != std::string_view::npos) {
        const char* begin = text.data() + at + key.size();
        const char* end = text.data() + text.size();
        if (std::from_chars(begin, end, number).ec == std::errc()) return number;
    }
    return fail(Error::corrupt(fmt::format("the text of a message queue: {}", text)));
}

Result<std::optional<model::QueueNotification>> read_notification(const Found& found) {
    const std::string text = TRY(os::read_file(fmt::format("/proc/self/fd/{}", found.fd.get())));
    const Pid owner{TRY(number_after(text, " NOTIFY_PID:"))};
    if (owner.value == 0) return std::nullopt;
    const int how = TRY(number_after(text, " NOTIFY:"));
    if (how != SIGEV_SIGNAL && how != SIGEV_NONE) {
        return fail(Error::unsupported(fmt::format(
            "message queue {}: a thread of process {} is to be told of its next message "
            "(SIGEV_THREAD), which is not carried",
            found.name, owner)));
    }
    return model::QueueNotification{.pid = owner, .signal = TRY(number_after(text, " SIGNO:"))};
}

Result<std::vector<Found>> find_named() {
    std::vector<Found> found;
    const os::UniqueFd names = TRY(os::open_message_queues());
    for (const std::string& name : TRY(os::list_directory(names.get(), "."))) {
        auto fd = os::openat(names.get(), name, O_RDWR | O_NONBLOCK);
        if (!fd && fd.error().code() == ENOENT) continue;  // unlinked meanwhile
        found.push_back({.fd = TRY(std::move(fd)), .name = "/" + name, .unlinked = false});
    }
    return found;
}

Result<> add_unlinked(std::span<const OpenQueue> open, std::vector<Found>& found) {
    std::vector<std::uint64_t> known;
    for (const Found& one : found) known.push_back(TRY(os::fstat(one.fd.get())).st_ino);
    for (const OpenQueue& queue : open) {
        if (std::ranges::find(known, queue.inode) != known.end()) continue;
        known.push_back(queue.inode);
        found.push_back({.fd = TRY(os::open(queue.link, O_RDWR | O_NONBLOCK)),
                         .name = queue.name,
                         .unlinked = true});
    }
    return {};
}

Result<model::PosixQueue> outline(const Found& found) {
    const struct stat status = TRY(os::fstat(found.fd.get()));
    const os::MessageQueueSize size = TRY(os::message_queue_size(found.fd.get()));
    return model::PosixQueue{.inode = status.st_ino,
                             .name = found.name,
                             .unlinked = found.unlinked,
                             .mode = status.st_mode & kPermissions,
                             .uid = status.st_uid,
                             .gid = status.st_gid,
                             .messages_max = size.messages_max,
                             .message_bytes_max = size.message_bytes_max,
                             .messages = {},
                             .notification = TRY(read_notification(found))};
}

// As far as we may.
Result<> raise_queue_limit() {
    constexpr Pid kOurselves{0};  // prlimit(2)
    const rlimit64 none = {.rlim_cur = RLIM64_INFINITY, .rlim_max = RLIM64_INFINITY};
    if (os::set_prlimit(kOurselves, RLIMIT_MSGQUEUE, none)) return {};
    rlimit64 limit = TRY(os::prlimit(kOurselves, RLIMIT_MSGQUEUE));
    limit.rlim_cur = limit.rlim_max;
    return os::set_prlimit(kOurselves, RLIMIT_MSGQUEUE, limit);
}

Result<os::UniqueFd> make_one(const model::PosixQueue& queue) {
    os::UniqueFd made = TRY(os::make_message_queue(queue.name, S_IRUSR | S_IWUSR,
                                                   queue.messages_max, queue.message_bytes_max));
    for (const model::PosixMessage& message : queue.messages) {
        TRY(os::send_message(made.get(), message.content, message.priority));
    }
    TRY(os::fchown(made.get(), queue.uid, queue.gid));
    TRY(os::fchmod(made.get(), queue.mode));
    if (queue.unlinked) TRY(os::unlink_message_queue(queue.name));
    return made;
}

}  // namespace

Result<> check_posix_queues() {
    for (const Found& found : TRY(find_named())) TRY(read_notification(found));
    return {};
}

Result<PosixQueues> read_posix_queues(std::span<const OpenQueue> open,
                                      os::MessageCustody& custody) {
    std::vector<Found> found = TRY(find_named());
    TRY(add_unlinked(open, found));
    PosixQueues result;
    for (const Found& one : found) {
        model::PosixQueue queue = TRY(outline(one));
        const std::uint64_t messages = TRY(os::message_queue_size(one.fd.get())).messages;
        if (messages > 0 && queue.notification) {
            // The first one that is put back would be news.
            result.busy = fmt::format(
                "message queue {} holds messages, and process {} is to be told of the next one",
                queue.name, queue.notification->pid);
            return result;
        }
        if (messages > 0) {
            for (os::QueuedMessage& message : TRY(with_context(
                     custody.copy(one.fd.get()), fmt::format("message queue {}", queue.name)))) {
                queue.messages.push_back(
                    {.priority = message.priority, .content = std::move(message.content)});
            }
        }
        result.queues.push_back(std::move(queue));
    }
    return result;
}

Result<> check_notification(const model::PosixQueue& queue, const model::Process& owner) {
    const int signal = queue.notification->signal;
    if (signal == 0) return {};
    const model::SignalAction& action = owner.actions.at(static_cast<std::size_t>(signal) - 1);
    const bool is_awaited = std::ranges::any_of(owner.threads, [&](const model::Thread& thread) {
        return (thread.signal_mask >> (signal - 1) & 1) != 0;
    });
    if ((action.flags & SA_SIGINFO) == 0 && !is_awaited) return {};
    return fail(Error::unsupported(fmt::format(
        "message queue {}: process {} is to be told of its next message by signal {} and may ask "
        "for the value that comes with it (SA_SIGINFO, sigwaitinfo), which the kernel does not "
        "show",
        queue.name, owner.pid, signal)));
}

Result<> PosixQueueOpener::make(std::span<const model::PosixQueue> queues) {
    if (queues.empty()) return {};
    TRY(raise_queue_limit());
    // One that has been unlinked may have the name of one that has not.
    for (const bool unlinked : {true, false}) {
        for (const model::PosixQueue& queue : queues) {
            if (queue.unlinked != unlinked) continue;
            made_[queue.inode] =
                TRY(with_context(make_one(queue), fmt::format("message queue {}", queue.name)));
        }
    }
    return {};
}

Result<os::UniqueFd> PosixQueueOpener::open(const model::MessageQueueFile& file,
                                            std::uint32_t flags) const {
    const auto made = made_.find(file.queue);
    if (made == made_.end()) {
        return fail(Error::corrupt(fmt::format("message queue {} is not there", file.name)));
    }
    constexpr std::uint32_t kOpeningFlags = O_ACCMODE | O_NONBLOCK | O_CLOEXEC;
    os::UniqueFd opened = TRY(os::open(fmt::format("/proc/self/fd/{}", made->second.get()),
                                       static_cast<int>(flags & kOpeningFlags)));
    TRY(os::lseek(opened.get(), file.position, SEEK_SET));
    return opened;
}

}  // namespace ferry::resources
