// At the destination: a container that Podman makes around what Ferry brings (docs/decisions/0022).
//
//   start()    `podman container restore` is under way: the container's storage is mounted and its
//              monitor waits for the runtime, which is our stand-in
//   create()   the runtime makes the container, below its monitor
//   settle()   Podman has it
//
// While Podman waits (until settle(), and for 240 s at most) it holds the container's lock:
// whoever asks it about this container waits, too.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/maker.h"
#include "container/podman.h"
#include "container/runtime.h"
#include "os/fd.h"
#include "os/launch.h"

namespace ferry::container {

class PodmanImport final : public Maker {
  public:
    // Invalid, by name: Podman is missing or of another version, the container's id or name or one
    // of its volumes is taken (one that it has left here is not), its image is not here. Peer: what
    // Podman said.
    static Result<std::unique_ptr<PodmanImport>> start(const PodmanRecord& record,
                                                       const Runtime& runtime);
    ~PodmanImport() override;

    [[nodiscard]] const std::string& bundle() const override { return bundle_; }
    [[nodiscard]] const std::string& config() const override { return spec_; }
    // The monitor's ends.
    Result<Streams> take_streams() override;
    [[nodiscard]] Result<std::vector<files::TreePlace>> places(const std::vector<FileTree>& trees,
                                                               const Config& config) const override;
    Result<std::string> altered_bundle() override { return stand_ins_.path("bundle"); }
    Result<> create(const Runtime::Creation& creation) override;
    Result<> settle() override;
    bool commit() override;

  private:
    PodmanImport(PodmanConfig config, StandIns stand_ins, Runtime runtime)
        : config_(std::move(config)),
          stand_ins_(std::move(stand_ins)),
          runtime_(std::move(runtime)) {}
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
    std::vector<std::string> marks_;   // of volumes that it had left here
    std::string devices_;              // device_names()
    std::string bundle_, spec_, log_;  // `spec_`: its config.json
    Runtime runtime_;
    std::vector<os::UniqueFd> streams_;
    os::UniqueFd said_;  // by Podman
    os::ChildProcess restore_;
    os::UniqueFd stand_in_;
    bool made_ = false;
    os::ChildProcess guardian_;
};

}  // namespace ferry::container
