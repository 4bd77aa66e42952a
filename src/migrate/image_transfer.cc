#include "migrate/image_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/byte_cursor.h"
#include "os/paths.h"
#include "os/sweeper.h"

namespace ferry::migrate {
namespace {

constexpr std::uint64_t kPieceBytes = 4u << 20;

// u32 length of the name, u64 offset in the file, name, content.
model::Bytes piece_header(const std::string& name, std::uint64_t offset) {
    model::Bytes header;
    const auto length = static_cast<std::uint32_t>(name.size());
    append(header, &length, sizeof(length));
    append(header, &offset, sizeof(offset));
    append(header, name.data(), name.size());
    return header;
}

Result<std::uint64_t> send_file(Link& link, const image::DirectoryStore& store,
                                const std::string& name, std::vector<std::byte>& buffer,
                                const std::function<Result<>()>& check) {
    const os::UniqueFd file = TRY(store.open_file(name));
    const auto size = static_cast<std::uint64_t>(TRY(os::fstat(file.get())).st_size);
    std::uint64_t offset = 0;
    do {
        TRY(check());
        const std::span<std::byte> piece =
            std::span(buffer).first(std::min(kPieceBytes, size - offset));
        TRY(with_context(os::pread_all(file.get(), piece, offset), name));
        model::Bytes header = piece_header(name, offset);
        const iovec parts[] = {{.iov_base = header.data(), .iov_len = header.size()},
                               {.iov_base = piece.data(), .iov_len = piece.size()}};
        TRY(link.send_parts(FrameType::Image, parts));
        offset += piece.size();
    } while (offset < size);
    return size;
}

}  // namespace

Result<ImagesDirectory> ImagesDirectory::create(const std::string& parent) {
    std::string path =
        TRY(with_context(os::mkdtemp(parent + "/ferry-images-"), "images directory"));
    os::ChildProcess sweeper = TRY(os::undo_after_death({.command = {"rm", "-rf", "--", path},
                                                         .until_gone = path,
                                                         .files = {},
                                                         .directories = {}}));
    image::DirectoryStore store = TRY(image::DirectoryStore::open(path));
    ImagesDirectory directory(std::move(path), std::move(store), std::move(sweeper));
    TRY(directory.store_.probe_writable());
    return directory;
}

ImagesDirectory::~ImagesDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<std::uint64_t> send_images(Link& link, const image::DirectoryStore& store,
                                  const std::function<Result<>()>& check) {
    std::vector<std::byte> buffer(kPieceBytes);
    std::uint64_t bytes = 0;
    for (const std::string& name : TRY(store.names())) {
        bytes += TRY(send_file(link, store, name, buffer, check));
    }
    TRY(link.send(FrameType::Restore, std::span<const std::byte>{}));
    return bytes;
}

Result<ImageReceiver> ImageReceiver::create() {
    return ImageReceiver(TRY(ImagesDirectory::create(kImagesParent)));
}

Result<> ImageReceiver::take(std::span<const std::byte> payload) {
    Cursor cursor(payload);
    const auto length = TRY(cursor.take<std::uint32_t>());
    const auto offset = TRY(cursor.take<std::uint64_t>());
    const std::span<const std::byte> text = TRY(cursor.take_bytes(length));
    const std::string name(reinterpret_cast<const char*>(text.data()), text.size());
    if (offset == 0) {
        file_ = TRY(directory_.store().create(name));
        name_ = name;
        offset_ = 0;
    }
    if (!file_ || name != name_ || offset != offset_) {
        return fail(Error::corrupt(fmt::format("a piece of {} at {}", name, offset)));
    }
    const std::span<const std::byte> content =
        payload.subspan(sizeof(std::uint32_t) + sizeof(std::uint64_t) + length);
    TRY(with_context(os::pwrite_all(file_.get(), content, offset), name));
    offset_ += content.size();
    return {};
}

Result<> ImageReceiver::complete() {
    file_ = {};
    return directory_.store().commit();
}

}  // namespace ferry::migrate
