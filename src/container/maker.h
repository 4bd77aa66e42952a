// Who makes a container at the destination, around the first program that Creation gives it: its
// runtime alone (runc_maker.h), or Podman (podman_import.h).
//
//   made               whatever can be checked ahead is; bundle(), config() and streams are known
//   altered_bundle()   a place for what Creation writes
//   create()           the first process has been started, and keeps itself ready
//   settle()           whoever keeps a book of containers has it in there
//   commit()           it stays
//
// Without commit() the destructor takes it back; a process that outlives us does so when we are
// killed. One thread.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "container/config.h"
#include "container/file_trees.h"
#include "container/runtime.h"
#include "container/streams.h"
#include "os/fd.h"

namespace ferry::container {

struct CreationOptions {
    std::string program = "runc";
    // Empty: the source's. Podman's containers have their own.
    std::string runtime_root = {};
    std::string bundle = {};  // empty: the source's path
    // The file that takes what the container wrote into a pipe, or to its terminal, at its source;
    // empty: kOutputDirectory/ID.log. Podman's containers have a log.
    std::string output = {};
    // Our descriptors of its standard streams, instead; -1: they are opened as above.
    std::array<int, 3> streams = {-1, -1, -1};
    // Who gets the master of its terminal instead (console.h): whoever listens at this path, or
    // this function; neither: a process that writes to `output`. Podman's monitors have it.
    std::string console_socket = {};
    std::function<Result<>(const os::UniqueFd& master)> take_console = {};
    // The runtime's version, for which it has to be run, is compared by start() and not by
    // prepare(): where other work lies between the two.
    bool version_later = false;
};

class Maker {
  public:
    Maker() = default;
    Maker(const Maker&) = delete;
    Maker& operator=(const Maker&) = delete;
    virtual ~Maker() = default;

    // Of the container, here.
    [[nodiscard]] virtual const std::string& bundle() const = 0;
    [[nodiscard]] virtual const std::string& config() const = 0;
    // Once.
    virtual Result<Streams> take_streams() = 0;
    // Where the files of these trees belong here, one for each; an empty path: they are not this
    // maker's, but the host's.
    [[nodiscard]] virtual Result<std::vector<files::TreePlace>> places(
        const std::vector<FileTree>& trees, const Config& config) const = 0;

    // An empty directory of ours, once.
    virtual Result<std::string> altered_bundle() = 0;
    virtual Result<> create(const Runtime::Creation& creation) = 0;
    virtual Result<> settle() = 0;
    // The container is the runtime's. True: this object is to be kept until its tree outlives us;
    // should we die before, the next attempt finds by it that what remains is nobody's.
    virtual bool commit() = 0;
};

}  // namespace ferry::container
