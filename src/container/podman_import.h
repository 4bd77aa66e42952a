// At the destination: a container that Podman makes around what Ferry brings (docs/decisions/0022).
//
//   start()    `podman container restore` is under way: the container's storage is mounted and its
//              monitor waits for the runtime, which is our stand-in
//   create()   the runtime makes the container, below its monitor
//   settle()   Podman has it
//   commit()   it stays
//
// Without commit() the destructor takes it back; a process that outlives us does so when we are
// killed. While Podman waits (until settle(), and for 240 s at most) it holds the container's lock:
// whoever asks it about this container waits, too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/config.h"
#include "container/file_trees.h"
#include "container/podman.h"
#include "container/runtime.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::container {

class PodmanImport {
  public:
    // Invalid, by name: Podman is missing or of another version, the container's id or name or one
    // of its volumes is taken, its image is not here. Peer: what Podman said.
    static Result<std::unique_ptr<PodmanImport>> start(const PodmanRecord& record);
    PodmanImport(const PodmanImport&) = delete;
    PodmanImport& operator=(const PodmanImport&) = delete;
    ~PodmanImport();

    // An empty directory of ours for an altered bundle.
    [[nodiscard]] std::string altered_bundle() const { return stand_ins_.path("bundle"); }
    [[nodiscard]] const std::string& bundle() const { return bundle_; }
    // The monitor's ends of the container's standard streams, once.
    std::vector<os::UniqueFd> take_streams() { return std::move(streams_); }
    // Where the files of these trees belong here, one for each; an empty path: nowhere, what is
    // here is used, or it is the host's.
    Result<std::vector<files::TreePlace>> places(const std::vector<FileTree>& trees,
                                                 const Config& config) const;

    Result<> create(const Runtime::Creation& creation);
    Result<> settle();
    void commit();

  private:
    PodmanImport(PodmanConfig config, StandIns stand_ins)
        : config_(std::move(config)), stand_ins_(std::move(stand_ins)) {}
    Result<> begin(const PodmanRecord& record);
    Result<> await_stand_in(int listener);
    Result<> take_stand_in(os::UniqueFd connection);
    // What Podman says when it has failed.
    std::unexpected<Error> failure();
    void take_back();

    PodmanConfig config_;
    StandIns stand_ins_;
    std::vector<std::string> podman_;  // and its options here
    std::vector<std::string> made_volumes_;
    std::string devices_;  // device_names()
    std::string bundle_, log_;
    std::vector<os::UniqueFd> streams_;
    os::UniqueFd said_;  // by Podman
    os::ChildProcess restore_;
    os::UniqueFd stand_in_;
    bool made_ = false;
    os::ChildProcess guardian_;
};

}  // namespace ferry::container
