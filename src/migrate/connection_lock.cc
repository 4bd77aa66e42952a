#include "migrate/connection_lock.h"

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <span>

#include "handover/nftables.h"
#include "os/fd.h"
#include "proc/process_directory.h"

namespace ferry::migrate {

namespace {

using handover::IpAddress;
using handover::NftBatch;
using handover::NftOwner;
using handover::NftRule;

constexpr int kListening = 10, kClosed = 7;
// CRIU marks the packets that it sends to itself while it restores a connection.
constexpr std::uint32_t kCriuMark = 0xC114;

std::vector<std::string_view> words_of(std::string_view line) {
    std::vector<std::string_view> words;
    std::size_t at = 0;
    while (at < line.size()) {
        const std::size_t begin = line.find_first_not_of(' ', at);
        if (begin == std::string_view::npos) break;
        at = std::min(line.find(' ', begin), line.size());
        words.push_back(line.substr(begin, at - begin));
    }
    return words;
}

Result<std::uint64_t> parse_number(std::string_view text, int base) {
    std::uint64_t value = 0;
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value, base);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
        return fail(Error::corrupt(fmt::format("/proc/net/tcp: \"{}\"", text)));
    }
    return value;
}

struct AddressAndPort {
    IpAddress address;
    std::uint16_t port = 0;
};

// "0100007F:1CDF": 32-bit words of the address in network order, printed as numbers of this
// machine.
Result<AddressAndPort> parse_endpoint(std::string_view text) {
    const std::size_t colon = text.find(':');
    if (colon != 8 && colon != 32) return fail(Error::corrupt("/proc/net/tcp: an address"));
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < colon; i += 8) {
        const auto word = static_cast<std::uint32_t>(TRY(parse_number(text.substr(i, 8), 16)));
        const auto* first = reinterpret_cast<const std::uint8_t*>(&word);
        bytes.insert(bytes.end(), first, first + sizeof(word));
    }
    AddressAndPort result;
    result.address = TRY(IpAddress::from_bytes(bytes));
    result.port = static_cast<std::uint16_t>(TRY(parse_number(text.substr(colon + 1), 16)));
    return result;
}

// Inode numbers of the sockets that the process has open.
Result<> add_sockets(Pid pid, std::set<std::uint64_t>& into) {
    const std::string directory = fmt::format("/proc/{}/fd", pid);
    for (const std::string& fd : TRY(os::list_directory(os::kCwd, directory))) {
        const Result<std::string> link = os::readlinkat(os::kCwd, directory + "/" + fd);
        constexpr std::string_view kPrefix = "socket:[";
        if (!link || !link->starts_with(kPrefix)) continue;
        const std::string_view number =
            std::string_view(*link).substr(kPrefix.size(), link->size() - kPrefix.size() - 1);
        into.insert(TRY(parse_number(number, 10)));
    }
    return {};
}

Result<> add_tree(Pid pid, std::set<std::uint64_t>& sockets) {
    TRY(add_sockets(pid, sockets));
    const auto process = TRY(proc::ProcessDirectory::open(pid));
    for (const Tid tid : TRY(process.threads())) {
        const auto thread = TRY(proc::ProcessDirectory::open_thread(pid, tid));
        for (const Pid child : TRY(thread.children())) {
            const Result<> added = add_tree(child, sockets);
            // A zombie has no descriptors; a child that has gone no connections.
            if (!added && added.error().kind() != Error::Kind::Gone) return added;
        }
    }
    return {};
}

void add_rules(const handover::NftTable& table, std::span<const Connection> connections,
               NftOwner owner, NftBatch& batch) {
    batch.add_table(table, owner);
    batch.add_chain(table, {.name = "input", .hook = NF_INET_LOCAL_IN});
    batch.add_chain(table, {.name = "output", .hook = NF_INET_LOCAL_OUT});
    for (const char* chain : {"input", "output"}) {
        batch.add_rule(table, chain, NftRule().match_mark(kCriuMark), NftRule::Verdict::Accept);
    }
    for (const Connection& c : connections) {
        NftRule in, out;
        in.match_source(c.peer).match_destination(c.local);
        in.match_tcp_source_port(c.peer_port).match_tcp_destination_port(c.local_port);
        out.match_source(c.local).match_destination(c.peer);
        out.match_tcp_source_port(c.local_port).match_tcp_destination_port(c.peer_port);
        batch.add_rule(table, "input", in, NftRule::Verdict::Drop);
        batch.add_rule(table, "output", out, NftRule::Verdict::Drop);
    }
}

handover::NftTable table_named(const std::string& name) {
    return {.family = NFPROTO_INET, .name = name};
}

}  // namespace

Result<std::vector<Connection>> parse_connections(std::string_view text) {
    std::vector<Connection> connections;
    std::size_t begin = std::min(text.find('\n'), text.size());  // Behind the heading.
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find('\n', begin + 1), text.size());
        const auto words = words_of(text.substr(begin + 1, end - begin - 1));
        begin = end;
        if (words.empty()) continue;
        if (words.size() < 10) return fail(Error::corrupt("/proc/net/tcp: a short line"));
        const std::uint64_t state = TRY(parse_number(words[3], 16));
        if (state == kListening || state == kClosed) continue;
        const AddressAndPort local = TRY(parse_endpoint(words[1]));
        const AddressAndPort peer = TRY(parse_endpoint(words[2]));
        connections.push_back({.local = local.address,
                               .peer = peer.address,
                               .local_port = local.port,
                               .peer_port = peer.port,
                               .inode = TRY(parse_number(words[9], 10))});
    }
    return connections;
}

Result<ConnectionLock> ConnectionLock::install(Pid root, const std::string& name) {
    std::set<std::uint64_t> sockets;
    TRY(add_tree(root, sockets));
    std::vector<Connection> held;
    for (const char* file : {"tcp", "tcp6"}) {
        const Result<std::string> text = os::read_file(fmt::format("/proc/{}/net/{}", root, file));
        if (!text) continue;  // A kernel without IPv6.
        for (const Connection& connection : TRY(parse_connections(*text))) {
            if (sockets.contains(connection.inode)) held.push_back(connection);
        }
    }
    ConnectionLock lock(TRY(handover::NetlinkSocket::open(NETLINK_NETFILTER)), name,
                        std::move(held));
    if (lock.connections_.empty()) return lock;
    // What is left of an earlier tree with this pid would be in the way.
    TRY(remove_connection_lock(lock.name_));
    NftBatch batch;
    add_rules(table_named(lock.name_), lock.connections_, NftOwner::Yes, batch);
    TRY(lock.netlink_.request(batch.finish(), "lock the tree's connections (nftables)"));
    return lock;
}

Result<> ConnectionLock::keep() && {
    if (connections_.empty()) return {};
    NftBatch batch;
    batch.delete_table(table_named(name_));
    add_rules(table_named(name_), connections_, NftOwner::No, batch);
    return netlink_.request(batch.finish(), "keep the tree's connections locked (nftables)");
}

Result<> remove_connection_lock(const std::string& name) {
    handover::NetlinkSocket netlink = TRY(handover::NetlinkSocket::open(NETLINK_NETFILTER));
    NftBatch batch;
    batch.delete_table(table_named(name));
    Result<> removed = netlink.request(batch.finish(), "remove the connection lock (nftables)");
    if (!removed && removed.error().code() == ENOENT) return {};
    return removed;
}

}  // namespace ferry::migrate
