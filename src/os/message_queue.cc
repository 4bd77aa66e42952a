#include "os/message_queue.h"

#include <fcntl.h>
#include <mqueue.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace ferry::os {

Result<UniqueFd> open_message_queues() {
    const UniqueFd system(::fsopen("mqueue", FSOPEN_CLOEXEC));
    if (!system) return fail(Error::system(errno, "fsopen(mqueue)"));
    if (::fsconfig(system.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return fail(Error::system(errno, "fsconfig(mqueue)"));
    }
    UniqueFd mount(::fsmount(system.get(), FSMOUNT_CLOEXEC, 0));
    if (!mount) return fail(Error::system(errno, "fsmount(mqueue)"));
    // The mount's own descriptor is an O_PATH one.
    return openat(mount.get(), ".", O_RDONLY | O_DIRECTORY);
}

Result<MessageQueueSize> message_queue_size(int queue) {
    mq_attr attributes = {};
    if (::mq_getattr(queue, &attributes) != 0) return fail(Error::system(errno, "mq_getattr"));
    return MessageQueueSize{.messages_max = static_cast<std::uint64_t>(attributes.mq_maxmsg),
                            .message_bytes_max = static_cast<std::uint64_t>(attributes.mq_msgsize),
                            .messages = static_cast<std::uint64_t>(attributes.mq_curmsgs)};
}

Result<UniqueFd> make_message_queue(const std::string& name, mode_t permissions,
                                    std::uint64_t messages_max, std::uint64_t message_bytes_max) {
    mq_attr attributes = {};
    attributes.mq_maxmsg = static_cast<long>(messages_max);
    attributes.mq_msgsize = static_cast<long>(message_bytes_max);
    UniqueFd queue(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC,
                             permissions, &attributes));
    if (!queue) return fail(Error::system(errno, "mq_open(" + name + ")"));
    return queue;
}

Result<> unlink_message_queue(const std::string& name) {
    if (::mq_unlink(name.c_str()) != 0) {
        return fail(Error::system(errno, "mq_unlink(" + name + ")"));
    }
    return {};
}

Result<> send_message(int queue, std::span<const std::byte> content, std::uint32_t priority) {
    const auto* bytes = reinterpret_cast<const char*>(content.data());
    if (::mq_send(queue, bytes, content.size(), priority) != 0) {
        return fail(Error::system(errno, "mq_send"));
    }
    return {};
}

}  // namespace ferry::os
