// System V objects of the calling thread's IPC namespace (sysvipc(7)).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/types.h"

namespace ferry::os {

// What IPC_SET can change.
struct SystemVOwner {
    uid_t user = 0;
    gid_t group = 0;
    unsigned mode = 0;  // nine bits
};

// semget(2), msgget(2): the id. `flags`: IPC_CREAT, IPC_EXCL, permissions.
Result<int> semget(std::int32_t key, std::size_t count, int flags);
Result<int> msgget(std::int32_t key, int flags);

// GETALL and SETALL; the latter forgets every process's adjustments.
Result<std::vector<std::uint16_t>> semaphore_values(int id, std::size_t count);
Result<> set_semaphore_values(int id, std::span<const std::uint16_t> values);
// GETPID: who changed it last; 0: nobody in our pid namespace.
Result<Pid> last_semaphore_user(int id, std::size_t number);
Result<> set_semaphore_owner(int id, const SystemVOwner& owner);

struct QueueSize {
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;      // of all messages
    std::uint64_t bytes_max = 0;  // msg_qbytes
};
Result<QueueSize> queue_size(int id);
Result<> set_queue_owner(int id, const SystemVOwner& owner, std::uint64_t bytes_max);
struct QueuedBytes {
    std::int64_t type = 0;
    std::vector<std::byte> content;
};
// The message at this place from 0, which stays there (MSG_COPY, Linux 3.8 with
// CONFIG_CHECKPOINT_RESTORE). E2BIG: it is longer than `bytes_max`.
Result<QueuedBytes> copy_message(int id, std::uint64_t index, std::size_t bytes_max);
// Does not wait: EAGAIN.
Result<> msgsnd(int id, std::int64_t type, std::span<const std::byte> content);

// shmget(2).
Result<int> shmget(std::int32_t key, std::uint64_t bytes, int flags);
Result<> set_segment_owner(int id, const SystemVOwner& owner);
Result<> lock_segment(int id);
// IPC_RMID.
Result<> remove_segment(int id);
// A segment in our own address space (shmat(2)); the destructor detaches it.
class Attachment {
  public:
    static Result<Attachment> attach(int id, std::uint64_t bytes, int flags);
    Attachment() = default;
    Attachment(Attachment&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
    Attachment& operator=(Attachment&& other) noexcept {
        Attachment taken(std::move(other));
        std::swap(data_, taken.data_);
        std::swap(bytes_, taken.bytes_);
        return *this;
    }
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;
    ~Attachment();

    // Whole pages.
    [[nodiscard]] AddrRange range() const;

  private:
    Attachment(void* data, std::uint64_t bytes) : data_(data), bytes_(bytes) {}
    void* data_ = nullptr;
    std::uint64_t bytes_ = 0;
};

}  // namespace ferry::os
