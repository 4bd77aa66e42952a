#include "os/system_v.h"

#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace ferry::os {
namespace {

// semctl(2): the caller has to define it.
union semun {
    int val;
    struct semid_ds* buf;
    unsigned short* array;
};

template <class... Args>
std::unexpected<Error> failed(int code, fmt::format_string<Args...> format, Args&&... args) {
    return fail(Error::system(code, fmt::format(format, std::forward<Args>(args)...)));
}

void set_owner(ipc_perm& into, const SystemVOwner& owner) {
    into.uid = owner.user;
    into.gid = owner.group;
    into.mode = static_cast<decltype(into.mode)>(owner.mode);
}

}  // namespace

Result<int> semget(std::int32_t key, std::size_t count, int flags) {
    const int id = ::semget(key, static_cast<int>(count), flags);
    if (id >= 0) return id;
    return failed(errno, "semget({:#x}, {})", static_cast<unsigned>(key), count);
}

Result<int> msgget(std::int32_t key, int flags) {
    const int id = ::msgget(key, flags);
    if (id >= 0) return id;
    return failed(errno, "msgget({:#x})", static_cast<unsigned>(key));
}

Result<std::vector<std::uint16_t>> semaphore_values(int id, std::size_t count) {
    std::vector<std::uint16_t> values(count);
    if (::semctl(id, 0, GETALL, semun{.array = values.data()}) == 0) return values;
    return failed(errno, "semctl({}, GETALL)", id);
}

Result<Pid> last_semaphore_user(int id, std::size_t number) {
    const int pid = ::semctl(id, static_cast<int>(number), GETPID, semun{.val = 0});
    if (pid >= 0) return Pid{pid};
    return failed(errno, "semctl({}, GETPID)", id);
}

Result<> set_semaphore_values(int id, std::span<const std::uint16_t> values) {
    std::vector<std::uint16_t> copy(values.begin(), values.end());
    if (::semctl(id, 0, SETALL, semun{.array = copy.data()}) == 0) return {};
    return failed(errno, "semctl({}, SETALL)", id);
}

Result<> set_semaphore_owner(int id, const SystemVOwner& owner) {
    struct semid_ds set = {};
    set_owner(set.sem_perm, owner);
    if (::semctl(id, 0, IPC_SET, semun{.buf = &set}) == 0) return {};
    return failed(errno, "semctl({}, IPC_SET)", id);
}

Result<QueueSize> queue_size(int id) {
    struct msqid_ds queue = {};
    if (::msgctl(id, IPC_STAT, &queue) != 0) return failed(errno, "msgctl({}, IPC_STAT)", id);
    return QueueSize{
        .messages = queue.msg_qnum, .bytes = queue.__msg_cbytes, .bytes_max = queue.msg_qbytes};
}

Result<> set_queue_owner(int id, const SystemVOwner& owner, std::uint64_t bytes_max) {
    struct msqid_ds queue = {};
    set_owner(queue.msg_perm, owner);
    queue.msg_qbytes = bytes_max;
    if (::msgctl(id, IPC_SET, &queue) == 0) return {};
    return failed(errno, "msgctl({}, IPC_SET)", id);
}

Result<QueuedBytes> copy_message(int id, std::uint64_t index, std::size_t bytes_max) {
    std::vector<std::byte> buffer(sizeof(long) + bytes_max);
    const ssize_t size =
        ::msgrcv(id, buffer.data(), bytes_max, static_cast<long>(index), MSG_COPY | IPC_NOWAIT);
    if (size < 0) return failed(errno, "msgrcv({}, {}, MSG_COPY)", id, index);
    long type = 0;
    std::memcpy(&type, buffer.data(), sizeof type);
    buffer.resize(sizeof(long) + static_cast<std::size_t>(size));
    buffer.erase(buffer.begin(), buffer.begin() + sizeof(long));
    return QueuedBytes{.type = type, .content = std::move(buffer)};
}

Result<> msgsnd(int id, std::int64_t type, std::span<const std::byte> content) {
    std::vector<std::byte> buffer(sizeof(long) + content.size());
    const long first = type;
    std::memcpy(buffer.data(), &first, sizeof first);
    std::ranges::copy(content, buffer.begin() + sizeof(long));
    if (::msgsnd(id, buffer.data(), content.size(), IPC_NOWAIT) == 0) return {};
    return failed(errno, "msgsnd({}, type {})", id, type);
}

Result<int> shmget(std::int32_t key, std::uint64_t bytes, int flags) {
    const int id = ::shmget(key, bytes, flags);
    if (id >= 0) return id;
    return failed(errno, "shmget({:#x}, {})", static_cast<unsigned>(key), bytes);
}

Result<> set_segment_owner(int id, const SystemVOwner& owner) {
    struct shmid_ds segment = {};
    set_owner(segment.shm_perm, owner);
    if (::shmctl(id, IPC_SET, &segment) == 0) return {};
    return failed(errno, "shmctl({}, IPC_SET)", id);
}

Result<> lock_segment(int id) {
    if (::shmctl(id, SHM_LOCK, nullptr) == 0) return {};
    return failed(errno, "shmctl({}, SHM_LOCK)", id);
}

Result<> remove_segment(int id) {
    if (::shmctl(id, IPC_RMID, nullptr) == 0) return {};
    return failed(errno, "shmctl({}, IPC_RMID)", id);
}

Result<Attachment> Attachment::attach(int id, std::uint64_t bytes, int flags) {
    void* data = ::shmat(id, nullptr, flags);
    // What shmat(2) returns when it fails.
    if (reinterpret_cast<std::intptr_t>(data) == -1) return failed(errno, "shmat({})", id);
    return Attachment(data, bytes);
}

Attachment::~Attachment() {
    if (data_ != nullptr) CHECK(::shmdt(data_) == 0);
}

AddrRange Attachment::range() const {
    const RemoteAddr start{reinterpret_cast<std::uint64_t>(data_)};
    return {start, start + page_align_up(bytes_)};
}

}  // namespace ferry::os
