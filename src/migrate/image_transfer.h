// Image files on their way from one host to the other (method checkpoint): the directory in which
// a session keeps them on each side, and their frames. Internal to migrate/. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "image/store.h"
#include "migrate/link.h"
#include "os/launch.h"

namespace ferry::migrate {

// In memory, so that no disk is waited for in the freeze.
inline constexpr const char* kImagesParent = "/dev/shm";

// A directory of a session's own. It goes with this object, or when we die.
class ImagesDirectory {
  public:
    // `parent` has to exist.
    static Result<ImagesDirectory> create(const std::string& parent);
    ImagesDirectory(ImagesDirectory&&) = default;
    ImagesDirectory& operator=(ImagesDirectory&&) = delete;
    ~ImagesDirectory();

    [[nodiscard]] image::DirectoryStore& store() { return store_; }

  private:
    ImagesDirectory(std::string path, image::DirectoryStore store, os::ChildProcess sweeper)
        : path_(std::move(path)), store_(std::move(store)), sweeper_(std::move(sweeper)) {}
    std::string path_;
    image::DirectoryStore store_;
    os::ChildProcess sweeper_;
};

// All files, by name, in pieces; `check` is called before each and ends the transfer with its
// error. Then the frame that says that they are complete. Returns the bytes of the files.
Result<std::uint64_t> send_images(Link& link, const image::DirectoryStore& store,
                                  const std::function<Result<>()>& check);

// The other end.
class ImageReceiver {
  public:
    static Result<ImageReceiver> create();

    // Of an Image frame. Corrupt: it is none, or not the piece that comes next.
    Result<> take(std::span<const std::byte> payload);
    // The frame that says so has come.
    Result<> complete();
    [[nodiscard]] const image::DirectoryStore& store() { return directory_.store(); }

  private:
    explicit ImageReceiver(ImagesDirectory directory) : directory_(std::move(directory)) {}
    ImagesDirectory directory_;
    std::string name_;  // of the file that is being received
    os::UniqueFd file_;
    std::uint64_t offset_ = 0;
};

}  // namespace ferry::migrate
