#include "resources/tcp_segment.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <span>

namespace ferry::resources {

std::vector<std::byte> build_segment(const TcpSegment& segment) {
    tcphdr header = {};
    header.source = htons(segment.source.port);
    header.dest = htons(segment.destination.port);
    header.seq = htonl(segment.sequence);
    header.ack_seq = htonl(segment.acknowledged);
    header.doff = sizeof(tcphdr) / 4;
    header.ack = 1;
    header.fin = segment.fin ? 1 : 0;
    // The window is scaled on arrival; the next real segment of the peer corrects it.
    header.window = htons(0xffff);
    const PacketEnds ends = {.source = segment.source, .destination = segment.destination};
    const auto bytes = std::as_bytes(std::span(&header, 1));
    header.check = htons(transport_checksum(ends, IPPROTO_TCP, bytes));
    return build_packet(ends, IPPROTO_TCP, bytes);
}

Result<> inject_segment(const TcpSegment& segment, std::uint32_t mark) {
    return with_context(inject_packet(segment.destination, build_segment(segment), mark),
                        "a segment for a half-closed connection");
}

}  // namespace ferry::resources
