// Every bound that foreign bytes (images, peers, procfs of hostile tasks) are checked against (I3).
// A limit stands here with its reason; exceeding it is Error::Kind::Limit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ferry::limits {

// kernel.pid_max cannot exceed 2^22 on 64-bit (proc_sys_kernel(5)).
inline constexpr std::uint32_t kTasksMax = 1u << 22;
// vm.max_map_count defaults to 65,530; some databases raise it to 262,144.
inline constexpr std::uint32_t kVmasMax = 1u << 20;
// fs.nr_open defaults to 2^20.
inline constexpr std::uint32_t kFilesMax = 1u << 20;
// A memfd's size: what an offset in a file can be (MAX_LFS_FILESIZE), less than a page.
inline constexpr std::uint64_t kMemfdBytesMax = 0x7fff'ffff'ffff'f000;
// One protobuf record of an image. The largest real one is a task core with its XSAVE area.
inline constexpr std::uint32_t kImageRecordBytesMax = 64u << 20;
// One frame of the migration wire: a batch of pages or one metadata file.
inline constexpr std::uint32_t kWireFrameBytesMax = 64u << 20;
// Received but unread data of one socket or pipe that is carried (net.core.rmem_max is far below).
inline constexpr std::uint32_t kQueueBytesMax = 64u << 20;
// XSAVE area of one thread: AMX needs 11 KiB, leave room for what follows it.
inline constexpr std::uint32_t kXsaveBytesMax = 64u << 10;
// Packets captured for a frozen service and not yet taken. Its peers cannot have more in flight
// than their windows allow; what exceeds this is lost and retransmitted.
inline constexpr std::uint32_t kHeldBytesMax = 64u << 20;
// Addresses, routes, neighbours or settings of one network identity.
inline constexpr std::uint32_t kIdentityEntriesMax = 4096;

// The nftables ruleset of a network namespace, and as much again of its tracked connections: lists
// of a hundred thousand addresses have some 8 MiB. Both go in one frame of the wire.
inline constexpr std::size_t kPacketFilterBytesMax = 16u << 20;

// RLIMIT_SIGPENDING is a few ten thousand on ordinary machines.
inline constexpr std::uint32_t kPendingSignalsMax = 1u << 17;

// NGROUPS_MAX (setgroups(2)).
inline constexpr std::uint32_t kGroupsMax = 1u << 16;

// Sessions that an agent has under way at once, in both directions together.
inline constexpr std::size_t kSessionsMax = 64;
// The name by which a peer calls a service.
inline constexpr std::size_t kServiceNameBytesMax = 256;

// fs.mount-max defaults to 100,000; containers have some dozens.
inline constexpr std::size_t kMountsMax = 1u << 16;
// state.json or config.json of a container: Docker's are below 100 KiB, a seccomp profile included.
inline constexpr std::size_t kContainerDocumentBytesMax = 4u << 20;

// What a container's tmpfs mounts hold together: it is read again in the freeze (some
// milliseconds), and goes in one frame of the wire.
inline constexpr std::size_t kTmpfsBytesMax = 48u << 20;
inline constexpr std::size_t kTmpfsEntriesMax = 1u << 16;
// The size that a file there claims; its holes cost a call for each 64 KiB.
inline constexpr std::uint64_t kTmpfsFileSizeMax = std::uint64_t{1} << 34;
// PATH_MAX.
inline constexpr std::size_t kTreePathBytesMax = 4096;

// Files of a container that are synchronised: a Debian with a desktop has some 300,000.
inline constexpr std::size_t kTreeEntriesMax = 1u << 22;
inline constexpr std::size_t kTreesMax = 256;
// The largest file of ext4.
inline constexpr std::uint64_t kTreeFileBytesMax = std::uint64_t{1} << 44;
inline constexpr std::size_t kTreeAttributesMax = 256;
inline constexpr std::size_t kTreeAttributeBytesMax = 64u << 10;  // XATTR_SIZE_MAX
inline constexpr int kTreeDepthMax = 512;

}  // namespace ferry::limits
