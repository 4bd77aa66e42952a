#include "model/files.h"

#include <cstring>

namespace ferry::model {

bool Datagram::operator==(const Datagram& o) const {
    return std::memcmp(&source, &o.source, sizeof(source)) == 0 && source_port == o.source_port &&
           content == o.content;
}

bool InetSocket::operator==(const InetSocket& o) const {
    return family == o.family && type == o.type && protocol == o.protocol && state == o.state &&
           inode == o.inode && std::memcmp(&source, &o.source, sizeof(source)) == 0 &&
           std::memcmp(&destination, &o.destination, sizeof(destination)) == 0 &&
           source_port == o.source_port && destination_port == o.destination_port &&
           backlog == o.backlog && ipv6_only == o.ipv6_only && free_bind == o.free_bind &&
           transparent == o.transparent && shutdown == o.shutdown &&
           error_unread == o.error_unread && options == o.options && tcp == o.tcp &&
           datagrams == o.datagrams && device_options == o.device_options && groups == o.groups &&
           icmp_filter == o.icmp_filter;
}

}  // namespace ferry::model
