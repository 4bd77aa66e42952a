// Unix domain sockets: pairs, bound and abstract names, listeners, datagrams, queued data.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/files.h"
#include "os/fd.h"
#include "os/scope.h"
#include "resources/descriptions.h"
#include "resources/plain_options.h"
#include "resources/sock_diag.h"
#include "resources/socket_options.h"

namespace ferry::resources {

struct UnixReading {
    model::UnixSocket socket;
    std::string busy;  // see CollectedFiles::busy
    // Of a listening socket: the inodes of the clients whose connections were not accepted yet.
    std::vector<std::uint32_t> pending = {};
};

// Reads sockets through sock_diag (NETLINK_SOCK_DIAG) and duplicates.
class UnixReader {
  public:
    // Of the caller's network namespace. `root` is put before bound paths (regular_file.h).
    static Result<UnixReader> open(const std::string& root);
    // Refused by name: a bound path that is gone, descriptors in flight. Queued data is read
    // without being consumed.
    Result<UnixReading> read(int fd, const Holder& holder, const SocketKind& kind,
                             std::uint32_t inode, bool with_queue, PlainOptionReader& plain);

  private:
    UnixReader(SockDiag diag, std::string root) : diag_(std::move(diag)), root_(std::move(root)) {}
    SockDiag diag_;
    std::string root_;
};

struct HeldUnixSocket {
    Holder holder;
    const model::UnixSocket* socket = nullptr;
};
// Those whose peers are not among the sockets, but for named peers where `external` is set, and for
// clients that are `pending` at a listening socket of the tree: their peers have no descriptor yet.
[[nodiscard]] std::vector<HeldUnixSocket> find_strangers(const std::vector<HeldUnixSocket>& sockets,
                                                         const std::vector<std::uint32_t>& pending,
                                                         bool external);
// Unsupported: the peer of this one is outside the tree.
[[nodiscard]] std::unexpected<Error> refuse_stranger(const HeldUnixSocket& held);

// Opens all unix sockets of a checkpoint together, because they refer to each other. A socket file
// that stands at a bound path is moved aside; settle() removes it, the destructor without settle()
// puts it back.
class UnixOpener {
  public:
    UnixOpener() = default;
    UnixOpener(UnixOpener&& other) noexcept
        : displaced_(std::exchange(other.displaced_, {})), root_(other.root_), user_(other.user_) {}
    UnixOpener& operator=(UnixOpener&&) = delete;
    UnixOpener(const UnixOpener&) = delete;
    UnixOpener& operator=(const UnixOpener&) = delete;
    ~UnixOpener();

    // By inode. Paths are those of `root`, a directory descriptor that outlives this; -1: ours.
    // `user`: who has to touch what is there (os::UserScope).
    Result<std::map<std::uint32_t, os::UniqueFd>> open(
        const std::vector<const model::UnixSocket*>& sockets, int root,
        const std::optional<os::UserIds>& user);
    void settle();

  private:
    struct Displaced {
        std::string path, aside;  // aside is empty where nothing stood
    };
    class Work;
    static void put_back(std::vector<Displaced>& displaced);
    std::vector<Displaced> displaced_;
    int root_ = -1;
    std::optional<os::UserIds> user_;
};

}  // namespace ferry::resources
