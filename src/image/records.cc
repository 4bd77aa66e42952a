#include "image/records.h"

#include <fmt/format.h>

#include <cstring>

#include "base/limits.h"

namespace ferry::image {

RecordWriter::RecordWriter(Magic magic, std::uint32_t first) {
    if (first != 0) add_number(first);
    add_number(static_cast<std::uint32_t>(magic));
}

void RecordWriter::add_number(std::uint32_t number) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof(number));
    std::memcpy(bytes_.data() + at, &number, sizeof(number));
}

Result<> RecordWriter::add(const google::protobuf::MessageLite& message) {
    if (!message.IsInitialized()) {
        return fail(Error::invalid(fmt::format("{}: {} is not set", message.GetTypeName(),
                                               message.InitializationErrorString())));
    }
    const std::size_t size = message.ByteSizeLong();
    if (size > limits::kImageRecordBytesMax) {
        return fail(Error::limit(fmt::format("{} has {} bytes", message.GetTypeName(), size)));
    }
    add_number(static_cast<std::uint32_t>(size));
    const std::size_t at = bytes_.size();
    bytes_.resize(at + size);
    if (!message.SerializeToArray(bytes_.data() + at, static_cast<int>(size))) {
        return fail(Error::invalid(message.GetTypeName() + " cannot be serialized"));
    }
    return {};
}

void RecordWriter::add_raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

Result<RecordReader> RecordReader::open(std::string name, std::span<const std::byte> bytes,
                                        Magic magic, std::uint32_t first) {
    RecordReader reader(std::move(name), bytes);
    const std::uint32_t kind = first == 0 ? 0 : TRY(reader.number());
    if (kind != first) {
        return fail(Error::corrupt(fmt::format(
            "{} is no image file of format 1.1 (it begins with {:#010x})", reader.name_, kind)));
    }
    const std::uint32_t found = TRY(reader.number());
    if (found != static_cast<std::uint32_t>(magic)) {
        return fail(Error::corrupt(
            fmt::format("{} holds another kind of image ({:#010x})", reader.name_, found)));
    }
    return reader;
}

Result<std::uint32_t> RecordReader::number() {
    std::uint32_t number = 0;
    if (rest_.size() < sizeof(number)) {
        return fail(Error::corrupt(name_ + " is truncated"));
    }
    std::memcpy(&number, rest_.data(), sizeof(number));
    rest_ = rest_.subspan(sizeof(number));
    return number;
}

Result<> RecordReader::next(google::protobuf::MessageLite& into) {
    const std::uint32_t size = TRY(number());
    if (size > limits::kImageRecordBytesMax) {
        return fail(Error::limit(fmt::format("{}: a record of {} bytes", name_, size)));
    }
    const std::span<const std::byte> bytes = TRY(raw(size));
    // The partial parser does not print to stderr where a required field is missing.
    const bool parsed = into.ParsePartialFromArray(bytes.data(), static_cast<int>(bytes.size()));
    if (!parsed || !into.IsInitialized()) {
        return fail(
            Error::corrupt(fmt::format("{}: a record is no valid {}", name_, into.GetTypeName())));
    }
    return {};
}

Result<std::span<const std::byte>> RecordReader::raw(std::uint64_t size) {
    if (rest_.size() < size) return fail(Error::corrupt(name_ + " is truncated"));
    const std::span<const std::byte> bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return bytes;
}

Result<> RecordReader::finish() const {
    if (rest_.empty()) return {};
    return fail(Error::corrupt(fmt::format("{}: {} bytes too many", name_, rest_.size())));
}

namespace {

// The inventory tells the format's version, so it begins as files of version 1.0 do.
std::uint32_t first_of(Magic magic) {
    return magic == Magic::Inventory ? 0 : kCommonMagic;
}

}  // namespace

Result<> put_one(ImageStore& into, const std::string& name, Magic magic,
                 const google::protobuf::MessageLite& message) {
    RecordWriter writer(magic, first_of(magic));
    TRY(with_context(writer.add(message), name));
    return into.put(name, writer.bytes());
}

Result<bool> get_one(const ImageStore& from, const std::string& name, Magic magic,
                     google::protobuf::MessageLite& into) {
    const std::optional<model::Bytes> bytes = TRY(from.get(name));
    if (!bytes) return false;
    RecordReader reader = TRY(RecordReader::open(name, *bytes, magic, first_of(magic)));
    TRY(reader.next(into));
    TRY(reader.finish());
    return true;
}

Result<> get_required(const ImageStore& from, const std::string& name, Magic magic,
                      google::protobuf::MessageLite& into) {
    if (TRY(get_one(from, name, magic, into))) return {};
    return fail(Error::corrupt("there is no " + name));
}

}  // namespace ferry::image
