// Where image files live: named byte blobs. In memory for the live wire, in a directory for dump
// and restore. Names are CRIU's file names ("core-4711.img"); a store never has subdirectories.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"

namespace ferry::image {

// The largest metadata file that is read. Pages are not metadata; they never pass through a store.
inline constexpr std::uint64_t kStoredFileBytesMax = 1u << 30;

// Named blobs. Not thread-safe.
class ImageStore {
  public:
    ImageStore() = default;
    ImageStore(const ImageStore&) = delete;
    ImageStore& operator=(const ImageStore&) = delete;
    ImageStore(ImageStore&&) = default;
    ImageStore& operator=(ImageStore&&) = default;
    virtual ~ImageStore() = default;

    // Stores or replaces one file. Error::Kind::Invalid for a name with a slash.
    virtual Result<> put(const std::string& name, std::span<const std::byte> content) = 0;
    // nullopt: there is no such file. Error::Kind::Limit above kStoredFileBytesMax.
    [[nodiscard]] virtual Result<std::optional<model::Bytes>> get(
        const std::string& name) const = 0;
    // Ascending.
    [[nodiscard]] virtual Result<std::vector<std::string>> names() const = 0;
};

class MemoryStore : public ImageStore {
  public:
    Result<> put(const std::string& name, std::span<const std::byte> content) override;
    [[nodiscard]] Result<std::optional<model::Bytes>> get(const std::string& name) const override;
    [[nodiscard]] Result<std::vector<std::string>> names() const override;

    [[nodiscard]] const std::map<std::string, model::Bytes>& files() const { return files_; }
    [[nodiscard]] std::uint64_t bytes() const;

  private:
    std::map<std::string, model::Bytes> files_;
};

// A directory of image files. Writing is commit or roll back: each file is written under a
// temporary name (".NAME.part"), commit() renames all of them, and the destructor removes those
// that were not committed. An earlier dump in the same directory stays whole until commit().
class DirectoryStore : public ImageStore {
  public:
    // The directory must exist. System(ENOENT), System(ENOTDIR), ... otherwise.
    static Result<DirectoryStore> open(const std::string& path);
    // directory is an O_DIRECTORY descriptor; it is taken over.
    explicit DirectoryStore(os::UniqueFd directory) : directory_(std::move(directory)) {}
    DirectoryStore(DirectoryStore&&) = default;
    DirectoryStore& operator=(DirectoryStore&&) = delete;
    ~DirectoryStore() override;

    // Reports a full disk, with nothing left behind.
    Result<> put(const std::string& name, std::span<const std::byte> content) override;
    // Of committed files.
    [[nodiscard]] Result<std::optional<model::Bytes>> get(const std::string& name) const override;
    [[nodiscard]] Result<std::vector<std::string>> names() const override;

    // An error, saying why, if no file can be made here. Leaves nothing behind.
    Result<> probe_writable();
    // A file that the caller fills itself (pages): empty, read-write, part of the same commit.
    Result<os::UniqueFd> create(const std::string& name);
    // A committed file, read-only. System(ENOENT) where there is none.
    [[nodiscard]] Result<os::UniqueFd> open_file(const std::string& name) const;
    // A symbolic link, part of the same commit.
    Result<> link(const std::string& name, const std::string& target);
    // Renames everything written to its final name. On an error, files renamed so far are removed.
    // Does not wait for the disk (no fsync): a dump has to survive Ferry, not a power cut.
    Result<> commit();

    [[nodiscard]] int fd() const { return directory_.get(); }

  private:
    os::UniqueFd directory_;
    std::vector<std::string> uncommitted_;
};

}  // namespace ferry::image
