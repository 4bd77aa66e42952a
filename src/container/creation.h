// The container at the destination: made by its runtime, with a first process that is a stub of
// ours (blob/entry) instead of its program; everything else about it is as its configuration says.
//
//   prepare()   checks; nothing is made (by Podman: all but the container itself)
//   start()     the container exists and its first process stands in our image, waiting
//   commit()    it is the runtime's from now on
//
// Without commit() the destructor kills it and has its Maker take back what was made. The first
// process itself ends with its socket (docs/format/blob_abi.md), so nothing of it runs on alone.
// The bundle is never written to: the altered configuration lies in a directory of its own until
// commit() or the roll-back.
//
// One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/types.h"
#include "container/container.h"
#include "container/maker.h"
#include "container/runtime.h"
#include "container/streams.h"
#include "os/clone.h"
#include "os/process.h"

namespace ferry::container {

class Creation {
  public:
    // Unsupported: what obstacles() names. Invalid, one line each: the runtime is missing or of
    // another version, the name or its control group is taken, the bundle, its root file system or
    // something that is to be mounted or joined is missing, the bundle's config.json is not the
    // source's, a standard stream cannot be opened.
    static Result<std::unique_ptr<Creation>> prepare(Description description,
                                                     const CreationOptions& options);
    Creation(const Creation&) = delete;
    Creation& operator=(const Creation&) = delete;
    ~Creation();

    // Makes and starts the container; returns its first process, which has entered the image, has
    // `socket` under the number `socket_number` (above 2) and nothing else of ours. `image.sibling`
    // has no meaning here: the process is a child of whoever reaps orphans. Its capabilities are
    // all that we may give. Unsupported: its mounts are not the original's (container/mounts.h).
    // After an error nothing is left. Call it once.
    Result<Pid> start(const os::FlatImage& image, int socket, int socket_number);
    // After start().
    [[nodiscard]] const os::PidFd& init() const { return *init_; }
    // Maker::places(), until commit().
    [[nodiscard]] Result<std::vector<files::TreePlace>> places(
        const std::vector<FileTree>& trees) const;
    // The configuration that the container has here.
    [[nodiscard]] const std::string& config() const { return description_.config; }
    // Our descriptor of what the container has here as standard stream `number`, instead of what
    // the original had outside of itself.
    [[nodiscard]] int stream(int number) const { return streams_.fd(number); }

    // Keeps the container. Call it before the first process is released: between the two our death
    // still ends that process, and a stopped container remains, which the next attempt removes
    // (Podman's stays); the other way round our death would remove a running one. To be destroyed
    // once the process outlives us.
    void commit() &&;

  private:
    Creation(Description description, Runtime runtime)
        : description_(std::move(description)), runtime_(std::move(runtime)) {}
    Result<> choose_maker(const CreationOptions& options);
    Result<> check() const;
    // What an attempt has left of which nobody is alive.
    Result<> remove_left() const;
    // Once; waits until the runtime has said its version.
    Result<> check_runtime();
    Result<std::string> write_aside(int socket_number, const os::FlatImage& image);
    Result<Pid> create_and_start(const std::string& bundle, const os::FlatImage& image, int socket);
    Result<> restore_limits() const;
    Result<> restore_state() const;
    Result<> give_streams() const;
    void roll_back();

    Description description_;
    Runtime runtime_;
    std::optional<Runtime::VersionQuestion> version_;  // until it is answered
    Streams streams_;
    std::unique_ptr<Maker> maker_;
    std::optional<os::PidFd> init_;
    Pid pid_;
    bool committed_ = false;
};

}  // namespace ferry::container
