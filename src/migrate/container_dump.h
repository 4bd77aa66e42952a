// `ferry dump NAME`: a container into image files, and what is needed to make it again. Its network
// between dump and restore: frozen_network.h.
#pragma once

#include <string>

#include "base/error.h"
#include "dump/to_images.h"
#include "image/store.h"
#include "resources/files.h"

namespace ferry::migrate {

struct ContainerDumpOptions {
    std::string name;
    std::string runtime_root;  // where its runtime keeps states
    resources::FileOptions files;
    dump::AfterDump after = dump::AfterDump::Kill;
    int work_directory = -1;  // for stats-dump; -1: none
    // The directory of a pre-dump, counted from the store's, that this dump refers to; empty: none.
    std::string parent = {};
    // Its runtime asks for this dump: it forgets the container by itself, and a network namespace
    // that the container has joined stays as it is, for whoever made it.
    bool runtime_is_told = false;
};

// Writes everything and commits the store, then ends the container as asked: with AfterDump::Kill
// nothing of it is left and its runtime has forgotten it (unless runtime_is_told). On an error
// before that it runs on as before, and the store holds nothing new. Errors:
// DepartingContainer::find(), SourceTree::open(), handover::find_network() and what they refuse by
// name.
Result<dump::ToImagesReport> dump_container(const ContainerDumpOptions& options,
                                            image::DirectoryStore& store);

// Of its memory only, while it runs on: for a later one to refer to. What would be refused then is
// refused now. `files` have no meaning.
Result<dump::ToImagesReport> pre_dump_container(const ContainerDumpOptions& options,
                                                image::DirectoryStore& store);

}  // namespace ferry::migrate
