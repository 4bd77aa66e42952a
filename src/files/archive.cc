#include "files/archive.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/limits.h"
#include "files/node.h"
#include "files/records.h"

namespace ferry::files {
namespace {

constexpr std::uint64_t kMagic = 0x3153454C49465246;  // "FRFILES1"

// Of each frame; numbers are fixed for ever, 0 is never valid.
enum class FrameKind : std::uint32_t {
    Offered = 1,  // records
    Wanted = 2,   // of the Offered before: whose content follows
    Records = 3,
    End = 4,
};
struct FrameHead {
    FrameKind kind = FrameKind::End;
    std::uint32_t bytes = 0;  // that follow
};
static_assert(sizeof(FrameHead) == 8);

std::span<const std::byte> bytes_of(const auto& value) {
    return std::as_bytes(std::span(&value, 1));
}

Result<> write_frame(const os::UniqueFd& file, FrameKind kind, std::span<const std::byte> bytes) {
    if (bytes.size() > limits::kWireFrameBytesMax) {
        return fail(Error::limit(fmt::format("{} bytes about files", bytes.size())));
    }
    const FrameHead head{.kind = kind, .bytes = static_cast<std::uint32_t>(bytes.size())};
    TRY(os::write_all(file.get(), bytes_of(head)));
    return os::write_all(file.get(), bytes);
}

// Heads are read at their places, one after the other.
class Frames {
  public:
    explicit Frames(int file) : file_(file) {}
    Result<FrameHead> next() {
        FrameHead head;
        TRY(os::pread_all(file_, std::as_writable_bytes(std::span(&head, 1)), at_));
        at_ += sizeof head;
        if (head.bytes > limits::kWireFrameBytesMax) {
            return fail(Error::limit(fmt::format("{} bytes about files", head.bytes)));
        }
        content_ = at_;
        at_ += head.bytes;
        return head;
    }
    Result<Bytes> content(const FrameHead& head) const {
        Bytes bytes(head.bytes);
        TRY(os::pread_all(file_, bytes, content_));
        return bytes;
    }
    [[nodiscard]] std::uint64_t at() const { return at_; }

  private:
    int file_;
    std::uint64_t at_ = sizeof kMagic, content_ = 0;
};

Result<> check_frames(int file, std::uint64_t size) {
    Frames frames(file);
    FrameKind before = FrameKind::Records;
    while (before != FrameKind::End) {
        const FrameHead head = TRY(frames.next());
        const bool is_answer = head.kind == FrameKind::Wanted;
        if (head.kind < FrameKind::Offered || head.kind > FrameKind::End || frames.at() > size ||
            is_answer != (before == FrameKind::Offered)) {
            return fail(Error::corrupt("it is damaged"));
        }
        before = head.kind;
    }
    return frames.at() == size ? Result<>() : fail(Error::corrupt("something follows its end"));
}

Result<std::vector<Record>> records_in(const Bytes& frame) {
    std::vector<Record> records;
    RecordReader reader(frame);
    while (auto record = TRY(reader.next())) records.push_back(std::move(*record));
    return records;
}

// The content of `asked` comes, all of it but zeros: nothing may be left of what was there.
Result<> make_room(Incoming& into, const Bytes& offered, const std::vector<Wanted>& asked,
                   const std::vector<Wanted>& kept) {
    const std::vector<Record> records = TRY(records_in(offered));
    Bytes emptied;
    for (const Wanted& wanted : asked) {
        Record record = records.at(wanted.index);
        if (std::ranges::find(kept, wanted.index, &Wanted::index) == kept.end()) {
            return fail(Error::invalid(fmt::format(
                "{} was as its image has it when this was written, and is something else here",
                record.node.path)));
        }
        record.node.size = 0;
        append_record(emptied, record);
    }
    return into.apply(emptied);
}

}  // namespace

Result<std::unique_ptr<ArchiveWriter>> ArchiveWriter::begin(
    os::UniqueFd file, std::vector<std::optional<TreeRoot>> bases) {
    TRY(os::write_all(file.get(), bytes_of(kMagic)));
    return std::unique_ptr<ArchiveWriter>(new ArchiveWriter(std::move(file), std::move(bases)));
}

Result<std::vector<Wanted>> ArchiveWriter::offer(std::span<const std::byte> records) {
    std::vector<Wanted> wanted;
    RecordReader reader(records);
    for (std::uint32_t index = 0;; ++index) {
        const auto record = TRY(reader.next());
        if (!record) break;
        if (record->node.kind != NodeKind::File || TRY(is_in_base(*record))) continue;
        wanted.push_back({.index = index, .digests = {}});
    }
    TRY(write_frame(file_, FrameKind::Offered, records));
    TRY(write_frame(file_, FrameKind::Wanted, encode(wanted)));
    return wanted;
}

// A file with several names there may be several files by now, of which only one can be that one.
Result<bool> ArchiveWriter::is_in_base(const Record& record) {
    std::optional<TreeRoot>& base = bases_.at(record.tree);
    if (!base) return false;
    const auto spot = base->locate(record.node.path);
    if (!spot && has_vanished(spot.error())) return false;
    if (!spot) return fail(spot.error());
    const auto there = TRY(look(spot->parent, spot->name));
    return there && S_ISREG(there->st_mode) && there->st_nlink == 1 &&
           static_cast<std::uint64_t>(there->st_size) == record.node.size &&
           same_time(there->st_mtim, record.node.modified);
}

Result<> ArchiveWriter::send(std::span<const std::byte> records) {
    return write_frame(file_, FrameKind::Records, records);
}

Result<> ArchiveWriter::finish() {
    TRY(write_frame(file_, FrameKind::End, {}));
    return std::move(file_).close();
}

Result<ArchiveReader> ArchiveReader::open(os::UniqueFd file) {
    const struct stat status = TRY(os::fstat(file.get()));
    std::uint64_t magic = 0;
    if (!S_ISREG(status.st_mode) || status.st_size < static_cast<off_t>(sizeof magic)) {
        return fail(Error::corrupt("it is no archive of files"));
    }
    TRY(os::pread_all(file.get(), std::as_writable_bytes(std::span(&magic, 1)), 0));
    if (magic != kMagic) return fail(Error::corrupt("it is no archive of files"));
    TRY(check_frames(file.get(), static_cast<std::uint64_t>(status.st_size)));
    return ArchiveReader(std::move(file));
}

Result<> ArchiveReader::apply(Incoming& into) {
    Frames frames(file_.get());
    Bytes offered;
    std::vector<Wanted> asked;
    for (;;) {
        const FrameHead head = TRY(frames.next());
        if (head.kind == FrameKind::End) return {};
        Bytes content = TRY(frames.content(head));
        switch (head.kind) {
            case FrameKind::Offered:
                asked = TRY(into.offer(content));
                offered = std::move(content);
                break;
            case FrameKind::Wanted:
                TRY(make_room(into, offered, asked, TRY(decode_wanted(content))));
                break;
            default:
                TRY(into.apply(content));
        }
    }
}

}  // namespace ferry::files
