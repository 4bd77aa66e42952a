// The framing of image files: two magic numbers, then records, each a 32-bit little-endian size and
// a protobuf message, some followed by raw bytes whose length the message tells. Private to image/.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"
#include "image/store.h"
#include "model/files.h"

namespace ferry::image {

// The first number of a file of format 1.1; 0 where there is none.
inline constexpr std::uint32_t kCommonMagic = 0x54564319;
inline constexpr std::uint32_t kServiceMagic = 0x55105940;

// The second number: what kind of file it is. Wire facts of CRIU 4.2.
enum class Magic : std::uint32_t {
    Inventory = 0x58313116,
    Pstree = 0x50273030,
    Ids = 0x54432030,
    Core = 0x55053847,
    Mm = 0x57492820,
    Fs = 0x51403912,
    Fdinfo = 0x56213732,
    Files = 0x56303138,
    PipesData = 0x56453709,
    FifoData = 0x59333054,
    RemapFpath = 0x59133954,
    GhostFile = 0x52583605,
    FileLocks = 0x54323616,
    SkQueues = 0x56264026,
    TcpStream = 0x51465506,
    Seccomp = 0x64413049,
    Cgroup = 0x59383330,
    Timens = 0x43114433,
    Pagemap = 0x56084025,
    MemfdInode = 0x48453499,
    Stats = 0x57093306,
    IpcVar = 0x53115007,
    IpcShm = 0x46283044,
    IpcSem = 0x59573019,
    IpcMsg = 0x55453737,
    TtyInfo = 0x59453036,
};

// Builds the bytes of one file.
class RecordWriter {
  public:
    explicit RecordWriter(Magic magic, std::uint32_t first = kCommonMagic);
    // Invalid: a required field is missing (a bug that foreign tools would trip over).
    Result<> add(const google::protobuf::MessageLite& message);
    void add_raw(std::span<const std::byte> bytes);
    [[nodiscard]] const model::Bytes& bytes() const { return bytes_; }

  private:
    void add_number(std::uint32_t number);
    model::Bytes bytes_;
};

// Takes the bytes of one file apart. Does not own them.
class RecordReader {
  public:
    // Corrupt: not a file of this kind. name is for messages.
    static Result<RecordReader> open(std::string name, std::span<const std::byte> bytes,
                                     Magic magic, std::uint32_t first = kCommonMagic);

    [[nodiscard]] bool at_end() const { return rest_.empty(); }
    // Corrupt where the file ends within the record, or the record is no such message.
    Result<> next(google::protobuf::MessageLite& into);
    Result<std::span<const std::byte>> raw(std::uint64_t size);
    // Whatever is left.
    [[nodiscard]] std::span<const std::byte> rest() { return std::exchange(rest_, {}); }
    // Corrupt unless everything has been read.
    Result<> finish() const;

  private:
    RecordReader(std::string name, std::span<const std::byte> rest)
        : name_(std::move(name)), rest_(rest) {}
    Result<std::uint32_t> number();
    std::string name_;
    std::span<const std::byte> rest_;
};

// Files that hold exactly one record.
Result<> put_one(ImageStore& into, const std::string& name, Magic magic,
                 const google::protobuf::MessageLite& message);
// false: there is no such file.
Result<bool> get_one(const ImageStore& from, const std::string& name, Magic magic,
                     google::protobuf::MessageLite& into);
// Corrupt where there is no such file.
Result<> get_required(const ImageStore& from, const std::string& name, Magic magic,
                      google::protobuf::MessageLite& into);

}  // namespace ferry::image
