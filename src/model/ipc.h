// What an IPC namespace holds beside the memory of its segments, as values (ipc_namespaces(7),
// sysvipc(7)). Not carried, since nobody can set it: who used an object last and when.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/types.h"
#include "model/files.h"

namespace ferry::model {

// What every System V object has.
struct IpcObject {
    std::int32_t id = 0;
    std::int32_t key = 0;    // 0: IPC_PRIVATE
    std::uint32_t mode = 0;  // nine bits of permission
    std::uint32_t uid = 0, gid = 0, cuid = 0, cgid = 0;
    bool operator==(const IpcObject&) const = default;
};

// System V shared memory. Who has it attached, and its content, is Checkpoint::shared_memory()'s.
struct IpcSegment {
    IpcObject object;
    std::uint64_t bytes = 0;
    bool removed = false;     // IPC_RMID: it goes with its last mapping (SHM_DEST)
    bool locked = false;      // SHM_LOCK
    std::string source = {};  // where this process can open it; only while it is collected
    bool operator==(const IpcSegment&) const = default;
};

struct SemaphoreSet {
    IpcObject object;
    std::vector<std::uint16_t> values;
    bool operator==(const SemaphoreSet&) const = default;
};

struct SystemVMessage {
    std::int64_t type = 1;
    Bytes content;
    bool operator==(const SystemVMessage&) const = default;
};
struct SystemVQueue {
    IpcObject object;
    std::uint64_t bytes_max = 0;           // msg_qbytes
    std::vector<SystemVMessage> messages;  // the oldest first
    bool operator==(const SystemVQueue&) const = default;
};

// Who is told of the next message that comes into an empty queue (mq_notify(3)).
struct QueueNotification {
    Pid pid;         // the process that registered
    int signal = 0;  // 0: nobody is told (SIGEV_NONE)
    bool operator==(const QueueNotification&) const = default;
};
struct PosixMessage {
    std::uint32_t priority = 0;
    Bytes content;
    bool operator==(const PosixMessage&) const = default;
};
// A POSIX message queue. One that has been unlinked exists as long as somebody has it open.
struct PosixQueue {
    std::uint64_t inode = 0;  // at the source; its identity
    std::string name;         // begins with a slash
    bool unlinked = false;
    std::uint32_t mode = 0;  // nine bits of permission
    std::uint32_t uid = 0, gid = 0;
    std::uint64_t messages_max = 0, message_bytes_max = 0;  // mq_maxmsg, mq_msgsize
    std::vector<PosixMessage> messages;                     // as they will be received
    std::optional<QueueNotification> notification;
    bool operator==(const PosixQueue&) const = default;
};

// /proc/sys/kernel and /proc/sys/fs/mqueue (proc_sys_kernel(5), mq_overview(7)).
struct IpcSettings {
    std::array<std::uint64_t, 4> sem = {};
    std::uint64_t msgmax = 0, msgmnb = 0, msgmni = 0;
    std::uint64_t shmmax = 0, shmall = 0, shmmni = 0, shm_rmid_forced = 0;
    std::uint64_t queues_max = 0, msg_max = 0, msgsize_max = 0, msg_default = 0,
                  msgsize_default = 0;
    bool operator==(const IpcSettings&) const = default;
};

// Of a container that has one of its own.
struct IpcNamespace {
    IpcSettings settings;
    std::vector<IpcSegment> segments;
    std::vector<SemaphoreSet> semaphores;
    std::vector<SystemVQueue> queues;
    std::vector<PosixQueue> posix_queues;
    bool operator==(const IpcNamespace&) const = default;
};

// What a process's end adds to a semaphore (SEM_UNDO, semop(2)).
struct SemaphoreUndo {
    std::int32_t set = 0;  // IpcObject::id
    std::uint32_t number = 0;
    std::int32_t adjustment = 0;  // never 0
    bool operator==(const SemaphoreUndo&) const = default;
};

}  // namespace ferry::model
