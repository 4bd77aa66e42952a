#include "migrate/own_files.h"

#include <fmt/format.h>

#include "base/log.h"
#include "migrate/container_images.h"
#include "migrate/file_sender.h"
#include "os/overlay.h"

namespace ferry::migrate {
namespace {

// What the image of the container has at this place.
std::optional<files::TreeRoot> base_of(const container::FileTree& tree) {
    if (!tree.overlay) return std::nullopt;
    auto root = [&tree]() -> Result<files::TreeRoot> {
        const os::UniqueFd layers = TRY(os::open_layers(tree.overlay->lower));
        return files::TreeRoot::open({.path = fmt::format("/proc/self/fd/{}", layers.get())});
    }();
    if (root) return std::move(*root);
    log_warn("{}: {}, keeping what its image has as well", tree.place.path, root.error().message());
    return std::nullopt;
}

}  // namespace

Result<OwnFilesDump> OwnFilesDump::begin(const container::Container& container,
                                         image::DirectoryStore& store) {
    OwnFilesDump dump;
    if (!container.monitor) return dump;
    dump.trees_ = container::own_trees(TRY(container::file_trees(container)));
    dump.left_ = container::left_places(dump.trees_);
    std::vector<files::TreePlace> places;
    std::vector<std::optional<files::TreeRoot>> bases;
    for (const container::FileTree& tree : dump.trees_) {
        places.push_back(tree.place);
        bases.push_back(base_of(tree));
    }
    dump.archive_ =
        TRY(files::ArchiveWriter::begin(TRY(store.create(kFilesFile)), std::move(bases)));
    dump.outgoing_.emplace(TRY(files::Outgoing::open(places)));
    TRY(dump.outgoing_->send_all(*dump.archive_));
    return dump;
}

Result<> OwnFilesDump::finish(const model::Checkpoint& checkpoint) {
    if (archive_ == nullptr) return {};
    TRY(outgoing_->send_last(*archive_, suspects_in(trees_, checkpoint)));
    return archive_->finish();
}

Result<OwnFilesRestore> OwnFilesRestore::open(const std::vector<container::FileTree>& trees,
                                              const std::string& images_directory) {
    OwnFilesRestore restore;
    restore.trees_ = trees;
    if (trees.empty()) return restore;
    restore.archive_ = TRY(with_context(
        [&]() -> Result<files::ArchiveReader> {
            const auto store = TRY(image::DirectoryStore::open(images_directory));
            return files::ArchiveReader::open(TRY(store.open_file(kFilesFile)));
        }(),
        kFilesFile));
    return restore;
}

Result<> OwnFilesRestore::apply(const container::Creation& creation) {
    if (!archive_) return {};
    const std::vector<files::TreePlace> places = TRY(creation.places(trees_));
    for (std::size_t i = 0; i < trees_.size(); ++i) {
        if (!places[i].path.empty()) continue;
        return fail(
            Error::corrupt(fmt::format("the files of {} belong to the host", trees_[i].point)));
    }
    files::Incoming incoming = TRY(files::Incoming::open(places));
    return with_context(archive_->apply(incoming), kFilesFile);
}

}  // namespace ferry::migrate
