// What a dump of a container holds beside CRIU's images (docs/format/image.md): what is the
// container's own and no process's.
//
//   ferry-container.json   how it was made (container::Description), its network or, where that is
//                          somebody else's, what Ferry has left there
//   ferry-tmpfs.tar        what is in its tmpfs mounts (container/tmpfs_archive.h)
//   ferry-files.dat        files that are its own (files/archive.h), where Podman has made it
//
// Internal to migrate/, but for its name.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/container.h"
#include "container/file_trees.h"
#include "handover/service_network.h"
#include "image/store.h"

namespace ferry::migrate {

inline constexpr int kContainerImagesVersion = 2;
inline constexpr const char* kFilesFile = "ferry-files.dat";

// A network namespace that the container has joined and that stays as it is.
struct JoinedNetwork {
    std::string lock;  // the ConnectionLock that was left in it; empty: none
    std::vector<handover::HoldTarget> services;  // the container's ends of connections
};

struct ContainerImages {
    container::Description description;
    handover::ServiceNetwork network;  // without `joined`
    std::optional<JoinedNetwork> joined = {};
    std::string tmpfs;  // the archive
    std::vector<container::FileTree> trees =
        {};  // those in kFilesFile; none: there is no such file
};

Result<> write_container(const ContainerImages& images, image::ImageStore& into);
// nullopt: the dump is of a tree of processes. Corrupt, Unsupported (another version), with the
// file's name.
Result<std::optional<ContainerImages>> read_container(const image::ImageStore& from);

}  // namespace ferry::migrate
