#include "files/records.h"

#include <fmt/format.h>

#include <string_view>

#include "base/limits.h"

namespace ferry::files {
namespace {

template <class T>
void put(Bytes& into, T value) {
    append(into, &value, sizeof value);
}

void put_text(Bytes& into, std::string_view text) {
    put(into, static_cast<std::uint32_t>(text.size()));
    append(into, text.data(), text.size());
}

Result<std::string> take_text(Cursor& cursor, std::size_t bytes_max) {
    const auto size = TRY(cursor.take<std::uint32_t>());
    if (size > bytes_max) return fail(Error::limit(fmt::format("a text of {} bytes", size)));
    const std::span<const std::byte> bytes = TRY(cursor.take_bytes(size));
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void put_time(Bytes& into, const timespec& time) {
    put(into, std::int64_t{time.tv_sec});
    put(into, static_cast<std::uint32_t>(time.tv_nsec));
}

Result<timespec> take_time(Cursor& cursor) {
    const auto seconds = TRY(cursor.take<std::int64_t>());
    const auto nanoseconds = TRY(cursor.take<std::uint32_t>());
    if (nanoseconds >= 1'000'000'000) return fail(Error::corrupt("a time of too many nanoseconds"));
    return timespec{.tv_sec = seconds, .tv_nsec = nanoseconds};
}

void put_node(Bytes& into, const Record& record) {
    const Node& node = record.node;
    put(into, static_cast<std::uint8_t>(node.kind));
    put(into, std::uint32_t{node.mode});
    put(into, std::uint32_t{node.user});
    put(into, std::uint32_t{node.group});
    put_time(into, node.accessed);
    put_time(into, node.modified);
    put(into, std::uint64_t{node.device});
    put(into, node.size);
    put(into, record.allocated);
    put_text(into, node.target);
    put(into, static_cast<std::uint32_t>(node.attributes.size()));
    for (const auto& [name, value] : node.attributes) {
        put_text(into, name);
        put_text(into, value);
    }
}

Result<> take_attributes(Cursor& cursor, Node& node) {
    const auto count = TRY(cursor.take<std::uint32_t>());
    if (count > limits::kTreeAttributesMax) {
        return fail(Error::limit(fmt::format("{} extended attributes", count)));
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string name = TRY(take_text(cursor, limits::kTreeAttributeBytesMax));
        std::string value = TRY(take_text(cursor, limits::kTreeAttributeBytesMax));
        node.attributes.emplace_back(std::move(name), std::move(value));
    }
    return {};
}

Result<> take_node(Cursor& cursor, Record& record) {
    Node& node = record.node;
    const auto kind = TRY(cursor.take<std::uint8_t>());
    if (kind > static_cast<std::uint8_t>(NodeKind::Socket)) {
        return fail(Error::corrupt(fmt::format("a node of kind {}", kind)));
    }
    node.kind = static_cast<NodeKind>(kind);
    node.mode = TRY(cursor.take<std::uint32_t>()) & 07777;
    node.user = TRY(cursor.take<std::uint32_t>());
    node.group = TRY(cursor.take<std::uint32_t>());
    node.accessed = TRY(take_time(cursor));
    node.modified = TRY(take_time(cursor));
    node.device = TRY(cursor.take<std::uint64_t>());
    node.size = TRY(cursor.take<std::uint64_t>());
    record.allocated = TRY(cursor.take<std::uint64_t>());
    if (node.size > limits::kTreeFileBytesMax || record.allocated > limits::kTreeFileBytesMax) {
        return fail(Error::limit(fmt::format("a file of {} bytes", node.size)));
    }
    node.target = TRY(take_text(cursor, limits::kTreePathBytesMax));
    return take_attributes(cursor, node);
}

bool has_good_names(const Record& record) {
    const Node& node = record.node;
    const bool is_top =
        node.path == "." && record.step == Step::Node && node.kind == NodeKind::Directory;
    const bool leads =
        (record.step == Step::Node && node.kind == NodeKind::HardLink) || record.step == Step::Move;
    if (record.step == Step::Only) return node.path.empty();
    return (is_top || stays_inside(node.path)) && (!leads || stays_inside(node.target));
}

Result<> check_range(const Record& record) {
    const std::uint64_t length = record.step == Step::Data ? record.bytes.size() : record.length;
    if (record.offset <= limits::kTreeFileBytesMax && length <= limits::kTreeFileBytesMax) {
        return {};
    }
    return fail(Error::limit(fmt::format("bytes of a file at {}", record.offset)));
}

}  // namespace

void append_record(Bytes& into, const Record& record) {
    put(into, static_cast<std::uint8_t>(record.step));
    put(into, record.tree);
    put_text(into, record.node.path);
    switch (record.step) {
        case Step::Node:
            put_node(into, record);
            break;
        case Step::Move:
            put_text(into, record.node.target);
            break;
        case Step::Data:
            put(into, record.offset);
            put(into, static_cast<std::uint32_t>(record.bytes.size()));
            append(into, record.bytes.data(), record.bytes.size());
            break;
        case Step::Hole:
            put(into, record.offset);
            put(into, record.length);
            break;
        case Step::Remove:
        case Step::Only:
            break;
    }
}

Result<std::optional<Record>> RecordReader::next() {
    if (cursor_.at_end()) return std::nullopt;
    Record record;
    record.step = static_cast<Step>(TRY(cursor_.take<std::uint8_t>()));
    record.tree = TRY(cursor_.take<std::uint32_t>());
    record.node.path = TRY(take_text(cursor_, limits::kTreePathBytesMax));
    switch (record.step) {
        case Step::Node:
            TRY(take_node(cursor_, record));
            break;
        case Step::Move:
            record.node.target = TRY(take_text(cursor_, limits::kTreePathBytesMax));
            break;
        case Step::Data:
            record.offset = TRY(cursor_.take<std::uint64_t>());
            record.bytes = TRY(cursor_.take_bytes(TRY(cursor_.take<std::uint32_t>())));
            break;
        case Step::Hole:
            record.offset = TRY(cursor_.take<std::uint64_t>());
            record.length = TRY(cursor_.take<std::uint64_t>());
            break;
        case Step::Remove:
        case Step::Only:
            break;
        default:
            return fail(Error::corrupt("an unknown step about files"));
    }
    TRY(check_range(record));
    if (has_good_names(record)) return record;
    return fail(Error::corrupt(
        fmt::format("the name \"{}\" or \"{}\"", record.node.path, record.node.target)));
}

Bytes encode(const std::vector<Wanted>& wanted) {
    Bytes bytes;
    put(bytes, static_cast<std::uint32_t>(wanted.size()));
    for (const Wanted& one : wanted) {
        put(bytes, one.index);
        put(bytes, static_cast<std::uint64_t>(one.digests.size()));
        append(bytes, one.digests.data(), one.digests.size() * sizeof(Digest));
    }
    return bytes;
}

Result<std::vector<Wanted>> decode_wanted(std::span<const std::byte> frame) {
    Cursor cursor(frame);
    const auto count = TRY(cursor.take<std::uint32_t>());
    std::vector<Wanted> wanted;
    for (std::uint32_t i = 0; i < count; ++i) {
        Wanted one{.index = TRY(cursor.take<std::uint32_t>()), .digests = {}};
        const auto blocks = TRY(cursor.take<std::uint64_t>());
        if (blocks > limits::kTreeFileBytesMax / kBlockBytes) {
            return fail(Error::limit(fmt::format("{} digests", blocks)));
        }
        const std::span<const std::byte> raw = TRY(cursor.take_bytes(blocks * sizeof(Digest)));
        one.digests.resize(blocks);
        if (!raw.empty()) std::memcpy(one.digests.data(), raw.data(), raw.size());
        wanted.push_back(std::move(one));
    }
    if (!cursor.at_end()) return fail(Error::corrupt("wanted files have trailing bytes"));
    return wanted;
}

}  // namespace ferry::files
