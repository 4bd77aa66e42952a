// Unix domain sockets: pairs, bound and abstract names, listeners, datagrams, queued data.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
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
    bool has_unread = false;  // messages, with which descriptors may be in flight
    // Duplicates of the descriptors in flight to it, by message of its queue, in their order.
    std::vector<std::pair<std::size_t, os::UniqueFd>> in_flight = {};
};

// Reads sockets through sock_diag (NETLINK_SOCK_DIAG) and duplicates.
class UnixReader {
  public:
    // Of the caller's network namespace. `root` is put before bound paths (regular_file.h).
    static Result<UnixReader> open(const std::string& root);
    // Refused by name: a bound path that is gone. Queued data is read without being consumed.
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

// Opens all unix sockets of a checkpoint together, because they refer to each other; they get what
// was in their queues when everything else is open, since that may be in flight. A socket file
// that stands at a bound path is moved aside; settle() removes it, the destructor without settle()
// puts it back.
class UnixOpener {
  public:
    UnixOpener();
    UnixOpener& operator=(UnixOpener&&) = delete;
    UnixOpener(const UnixOpener&) = delete;
    UnixOpener& operator=(const UnixOpener&) = delete;
    ~UnixOpener();

    // By inode. Paths are those of `root`, a directory descriptor that outlives this; -1: ours.
    // `user`: who has to touch what is there (os::UserScope).
    // The sockets, and their descriptors under these numbers, outlive fill().
    Result<std::map<std::uint32_t, os::UniqueFd>> open(
        const std::vector<const model::UnixSocket*>& sockets, int root,
        const std::optional<os::UserIds>& user);
    // Their queues and options. `opened` knows our descriptor of each open file; -1: it is not
    // open.
    Result<> fill(const std::function<int(model::FileId)>& opened);
    void settle();

  private:
    struct Displaced {
        std::string path, aside;  // aside is empty where nothing stood
    };
    class Work;
    static void put_back(std::vector<Displaced>& displaced);
    std::vector<Displaced> displaced_;
    std::unique_ptr<Work> work_;  // between open() and fill()
    int root_ = -1;
    std::optional<os::UserIds> user_;
};

}  // namespace ferry::resources
