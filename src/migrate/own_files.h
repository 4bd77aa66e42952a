// `ferry dump` and `ferry restore`: the files that a container has for itself (its root, volumes,
// log, /dev/shm), where Podman has made it and removes them with it. A container of runc's has
// none: its bundle stays where it is. Internal to migrate/.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/container.h"
#include "container/creation.h"
#include "container/file_trees.h"
#include "files/archive.h"
#include "files/outgoing.h"
#include "image/store.h"
#include "model/checkpoint.h"

namespace ferry::migrate {

class OwnFilesDump {
  public:
    // While it runs: writes them into the store.
    static Result<OwnFilesDump> begin(const container::Container& container,
                                      image::DirectoryStore& store);
    // Nothing of it runs; `checkpoint` is of now.
    Result<> finish(const model::Checkpoint& checkpoint);

    // Those that are written.
    [[nodiscard]] const std::vector<container::FileTree>& trees() const { return trees_; }
    // What stays here when the container has gone, and is not current then.
    [[nodiscard]] const std::vector<files::TreePlace>& left() const { return left_; }

  private:
    OwnFilesDump() = default;
    std::vector<container::FileTree> trees_;
    std::vector<files::TreePlace> left_;
    std::optional<files::Outgoing> outgoing_;
    std::unique_ptr<files::ArchiveWriter> archive_;
};

class OwnFilesRestore {
  public:
    // Corrupt: they are not there, or damaged.
    static Result<OwnFilesRestore> open(const std::vector<container::FileTree>& trees,
                                        const std::string& images_directory);
    // Brings them to where the container has them here, before it is started.
    Result<> apply(const container::Creation& creation);

  private:
    OwnFilesRestore() = default;
    std::vector<container::FileTree> trees_;
    std::optional<files::ArchiveReader> archive_;
};

}  // namespace ferry::migrate
