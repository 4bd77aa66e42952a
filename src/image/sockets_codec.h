// Internet and Unix sockets to and from their records. Private to image/.
#pragma once

#include "base/error.h"
#include "image/proto/ferry.pb.h"
#include "image/proto/files.pb.h"
#include "image/store.h"
#include "model/files.h"

namespace ferry::image {

void owner_to_wire(const model::FileOwner& owner, wire::Fown& into);
Result<model::FileOwner> owner_from_wire(const wire::Fown& from);

// The options that sockets of every family may have.
void options_to_wire(const model::SocketOptions& o, bool is_unix, wire::SkOpts& w);
// Those that the format has no field for; returns whether there are any.
bool options_to_extra(const model::SocketOptions& o, wire::FerrySocket& extra);
Result<model::SocketOptions> options_from_wire(const wire::SkOpts& w,
                                               const wire::FerrySocket& extra);

// extra gets what the format has no field for; returns whether there was any.
Result<bool> inet_to_wire(const model::InetSocket& socket, wire::InetSk& into,
                          wire::FerrySocket& extra);
// The TCP connection is in its own file: get_connection.
Result<model::InetSocket> inet_from_wire(const wire::InetSk& from, const wire::FerrySocket& extra);

bool unix_to_wire(const model::UnixSocket& socket, wire::UnixSk& into, wire::FerrySocket& extra);
// The queue is in sk-queues.img.
Result<model::UnixSocket> unix_from_wire(const wire::UnixSk& from, const wire::FerrySocket& extra);

// tcp-stream-INODE.img.
Result<> put_connection(std::uint32_t inode, const model::TcpConnection& connection,
                        ImageStore& into);
Result<std::optional<model::TcpConnection>> get_connection(std::uint32_t inode,
                                                           const ImageStore& from);

}  // namespace ferry::image
