// The frames of a migration stream (docs/format/session.md): what they are called, how they look,
// and the encoding of those that migrate/ itself fills. All integers are little-endian. The stream
// is one TLS connection and ordered, so a frame's meaning never depends on anything but the frames
// before it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "image/store.h"
#include "model/files.h"

namespace ferry::migrate {

// Both sides must speak the same version; there is no negotiation yet.
inline constexpr std::uint32_t kWireVersion = 8;
inline constexpr std::uint32_t kFrameMagic = 0x31595246;  // "FRY1"

// Wire numbers: fixed for ever, 0 is never valid.
enum class FrameType : std::uint32_t {
    Hello = 1,      // source: JSON of HelloBody
    Welcome = 2,    // destination: accepts the Hello; empty
    Layout = 3,     // source: a skeleton checkpoint as a packed image store
    Staged = 4,     // destination: the layout is in place; empty
    Pages = 5,      // source: pages/page_wire.h
    RoundEnd = 6,   // source: everything of this round was sent; u64 round number
    RoundDone = 7,  // destination: everything of this round is in place; u64 round number
    Final = 8,      // source: the whole checkpoint as a packed image store
    Ready = 9,      // destination: restored and stopped; JSON of ReadyBody
    Packets = 10,   // source: packets that were held, to be delivered once the service runs
    Commit = 11,    // source: run; empty
    Running = 12,   // destination: it runs; JSON of RunningBody
    Finish = 13,    // source: nothing more follows; empty
    Finished = 14,  // destination: JSON of FinishedBody
    Failed = 15,    // either: one line of text, the side that sends it has rolled back
    Frozen = 16,    // source: the tree stands still, what follows is urgent; empty
    Files = 17,     // source: what has changed in a container's tmpfs mounts; container's archive
    Image = 18,     // source: a piece of an image file (migrate/image_transfer.h)
    Restore = 19,   // source: the image files are complete; empty
    Storage = 20,   // both: JSON of StorageBody; whose storage is the same
    Offered = 21,   // source: nodes of a container's files, perhaps there already; files/records.h
    Wanted = 22,    // destination: of which of them the content is wanted; files/records.h
    Trees = 23,     // source: what has changed in a container's files; files/records.h
    Root = 24,      // source: a skeleton, as with Layout, of which the root alone is staged
    // handover/packet_filter.h, in the freeze:
    Ruleset = 25,      // source: the container's nftables ruleset
    Connections = 26,  // source: what is tracked in its network
};
[[nodiscard]] const char* name_of(FrameType type);

struct FrameHeader {
    std::uint32_t magic = kFrameMagic;
    std::uint32_t type = 0;
    std::uint64_t length = 0;  // of the payload that follows
};
static_assert(sizeof(FrameHeader) == 16);

// Checks magic, type and length against base/limits.h.
[[nodiscard]] Result<FrameType> check(const FrameHeader& header);

struct HelloBody {
    std::uint32_t version = kWireVersion;
    std::string session = {};
    std::string kernel_release = {};
    std::uint64_t vdso_hash = 0;
    std::string boot_id = {};
    std::string network = {};  // handover's network of the service, as handover encodes it
    // By name, the network devices that its sockets need.
    std::vector<std::string> devices = {};
    // container's description of the container that the tree is, as container encodes it; empty:
    // the tree lives where Ferry does.
    std::string container = {};
    // container's trees of its files, as container encodes them; empty: both hosts have the same.
    std::string files = {};
    // Of the source's CPU (arch/cpu_features.h), and the state components it saves (XCR0). Without
    // any: the user says that the service does not mind.
    std::vector<std::string> cpu_features = {};
    std::uint64_t cpu_state = 0;
};
// For each tree of files. The destination: a path that exists only where it is ("": none). The
// source: whether it sees that path.
struct StorageBody {
    std::vector<std::string> probes = {};
    std::vector<bool> seen = {};
};
struct ReadyBody {
    double restore_ms = 0;
    // StagedTree::loss(), for the user.
    std::string loss = {};
};
struct RunningBody {
    double commit_ms = 0;
    // The decision is recorded, but no task runs before the source's tree has ended, which holds
    // locks of files that both see. A second Running without this follows.
    bool waits_for_locks = false;
};
struct FinishedBody {
    std::uint64_t memory = 0;  // resident bytes of the tree
    std::uint64_t processes = 0, threads = 0, files = 0, sockets = 0, mappings = 0;
    std::uint64_t worker_memory_peak = 0;
};
// Whether a service of that host can go on here. Unsupported names what is missing.
[[nodiscard]] Result<> check_cpu(const HelloBody& hello);
[[nodiscard]] std::string encode(const HelloBody& body);
[[nodiscard]] std::string encode(const StorageBody& body);
[[nodiscard]] std::string encode(const ReadyBody& body);
[[nodiscard]] std::string encode(const RunningBody& body);
[[nodiscard]] std::string encode(const FinishedBody& body);
[[nodiscard]] Result<HelloBody> decode_hello(std::span<const std::byte> payload);
[[nodiscard]] Result<StorageBody> decode_storage(std::span<const std::byte> payload);
[[nodiscard]] Result<ReadyBody> decode_ready(std::span<const std::byte> payload);
[[nodiscard]] Result<RunningBody> decode_running(std::span<const std::byte> payload);
[[nodiscard]] Result<FinishedBody> decode_finished(std::span<const std::byte> payload);

// A named list of byte blobs: u32 count, then per blob u32 name length, name, u64 size, content.
[[nodiscard]] model::Bytes pack(const image::MemoryStore& store);
[[nodiscard]] Result<image::MemoryStore> unpack(std::span<const std::byte> payload);

}  // namespace ferry::migrate
