#include "migrate/wire.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "arch/cpu_features.h"
#include "arch/xstate.h"
#include "base/byte_cursor.h"
#include "base/limits.h"
#include "migrate/packets.h"

namespace ferry::migrate {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HelloBody, version, session, kernel_release, vdso_hash, boot_id,
                                   network, devices, container, files, cpu_features, cpu_state)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StorageBody, probes, seen)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ReadyBody, restore_ms, loss)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RunningBody, commit_ms, waits_for_locks)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FinishedBody, memory, processes, threads, files, sockets,
                                   mappings, worker_memory_peak)

namespace {

constexpr std::array<const char*, 27> kFrameNames = {
    "Invalid",   "Hello",  "Welcome", "Layout",  "Staged",  "Pages",      "RoundEnd",
    "RoundDone", "Final",  "Ready",   "Packets", "Commit",  "Running",    "Finish",
    "Finished",  "Failed", "Frozen",  "Files",   "Image",   "Restore",    "Storage",
    "Offered",   "Wanted", "Trees",   "Root",    "Ruleset", "Connections"};

template <class Body>
Result<Body> decode_json(std::span<const std::byte> payload, const char* what) {
    try {
        const auto* text = reinterpret_cast<const char*>(payload.data());
        return nlohmann::json::parse(text, text + payload.size()).get<Body>();
    } catch (const nlohmann::json::exception& error) {
        return fail(Error::corrupt(fmt::format("{} frame: {}", what, error.what())));
    }
}

template <class Body>
std::string encode_json(const Body& body) {
    return nlohmann::json(body).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

const char* name_of(FrameType type) {
    const auto number = static_cast<std::size_t>(type);
    return number < kFrameNames.size() ? kFrameNames.at(number) : "Invalid";
}

Result<FrameType> check(const FrameHeader& header) {
    if (header.magic != kFrameMagic) {
        return fail(Error::corrupt("the peer does not speak Ferry's migration protocol"));
    }
    if (header.type == 0 || header.type >= kFrameNames.size()) {
        return fail(Error::corrupt(fmt::format("frame of unknown type {}", header.type)));
    }
    if (header.length > limits::kWireFrameBytesMax) {
        return fail(Error::limit(fmt::format("frame of {} bytes", header.length)));
    }
    return static_cast<FrameType>(header.type);
}

Result<> check_cpu(const HelloBody& hello) {
    std::vector<std::string> missing =
        arch::missing_features(hello.cpu_features, arch::cpu_features());
    const std::uint64_t lost = hello.cpu_state & ~arch::XStateLayout::of_this_cpu().features;
    if (lost != 0) missing.push_back(fmt::format("state components {:#x}", lost));
    if (missing.empty()) return {};
    return fail(Error::unsupported(
        fmt::format("the CPU of this host lacks what the service may use: {}; --cpu-cap none "
                    "moves it all the same",
                    fmt::join(missing, ", "))));
}

std::string encode(const HelloBody& body) {
    return encode_json(body);
}
std::string encode(const StorageBody& body) {
    return encode_json(body);
}
std::string encode(const ReadyBody& body) {
    return encode_json(body);
}
std::string encode(const RunningBody& body) {
    return encode_json(body);
}
std::string encode(const FinishedBody& body) {
    return encode_json(body);
}

Result<HelloBody> decode_hello(std::span<const std::byte> payload) {
    return decode_json<HelloBody>(payload, "Hello");
}
Result<StorageBody> decode_storage(std::span<const std::byte> payload) {
    return decode_json<StorageBody>(payload, "Storage");
}
Result<ReadyBody> decode_ready(std::span<const std::byte> payload) {
    return decode_json<ReadyBody>(payload, "Ready");
}
Result<RunningBody> decode_running(std::span<const std::byte> payload) {
    return decode_json<RunningBody>(payload, "Running");
}
Result<FinishedBody> decode_finished(std::span<const std::byte> payload) {
    return decode_json<FinishedBody>(payload, "Finished");
}

model::Bytes pack(const image::MemoryStore& store) {
    model::Bytes packed;
    const auto count = static_cast<std::uint32_t>(store.files().size());
    append(packed, &count, sizeof(count));
    for (const auto& [name, content] : store.files()) {
        const auto name_size = static_cast<std::uint32_t>(name.size());
        const std::uint64_t size = content.size();
        append(packed, &name_size, sizeof(name_size));
        append(packed, name.data(), name.size());
        append(packed, &size, sizeof(size));
        append(packed, content.data(), content.size());
    }
    return packed;
}

Result<image::MemoryStore> unpack(std::span<const std::byte> payload) {
    Cursor cursor(payload);
    image::MemoryStore store;
    const auto count = TRY(cursor.take<std::uint32_t>());
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto name_size = TRY(cursor.take<std::uint32_t>());
        const std::span<const std::byte> name = TRY(cursor.take_bytes(name_size));
        const auto size = TRY(cursor.take<std::uint64_t>());
        const std::span<const std::byte> content = TRY(cursor.take_bytes(size));
        TRY(store.put(std::string(reinterpret_cast<const char*>(name.data()), name.size()),
                      content));
    }
    if (!cursor.at_end()) return fail(Error::corrupt("packed images have trailing bytes"));
    return store;
}

model::Bytes pack_packets(std::span<const handover::HeldPacket> packets) {
    model::Bytes packed;
    const auto count = static_cast<std::uint32_t>(packets.size());
    append(packed, &count, sizeof(count));
    for (const handover::HeldPacket& packet : packets) {
        const auto size = static_cast<std::uint32_t>(packet.size());
        append(packed, &size, sizeof(size));
        append(packed, packet.data(), packet.size());
    }
    return packed;
}

Result<std::vector<handover::HeldPacket>> unpack_packets(std::span<const std::byte> payload) {
    Cursor cursor(payload);
    std::vector<handover::HeldPacket> packets;
    const auto count = TRY(cursor.take<std::uint32_t>());
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto size = TRY(cursor.take<std::uint32_t>());
        const std::span<const std::byte> bytes = TRY(cursor.take_bytes(size));
        packets.emplace_back(bytes.begin(), bytes.end());
    }
    if (!cursor.at_end()) return fail(Error::corrupt("packets have trailing bytes"));
    return packets;
}

}  // namespace ferry::migrate
