// Internet sockets that are refused by name before anything is frozen.
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <tuple>

#include "resources/live_tree.h"

namespace ferry::resources {
namespace {

std::string why_refused(const std::function<void()>& set_up) {
    enter_test_network();
    const LiveTree tree(set_up);
    FileCollector collector({.tcp_established = true}, nullptr);
    const auto prepared = collector.prepare(std::vector<Pid>{tree.pid()});
    if (prepared) return "not refused";
    EXPECT_EQ(prepared.error().kind(), Error::Kind::Unsupported);
    return prepared.error().message();
}

TEST(Inet, options_that_cannot_be_carried_are_refused_by_name) {
    struct Option {
        int type, level, option, value;
        const char* name;
    };
    constexpr Option kOptions[] = {
        {SOCK_DGRAM, SOL_SOCKET, SO_TIMESTAMPING, 1 << 7, "SO_TIMESTAMPING"},
        {SOCK_DGRAM, IPPROTO_UDP, 100, 2, "UDP_ENCAP"},  // for ESP
    };
    for (const Option& option : kOptions) {
        const std::string why = why_refused([&] {
            const int fd = ::socket(AF_INET, option.type, 0);
            ::setsockopt(fd, option.level, option.option, &option.value, sizeof(option.value));
        });
        EXPECT_NE(why.find(option.name), std::string::npos) << option.name << ": " << why;
    }
    const std::string why = why_refused([] {
        const std::uint64_t monotonic = 1;  // struct sock_txtime
        ::setsockopt(::socket(AF_INET, SOCK_DGRAM, 0), SOL_SOCKET, SO_TXTIME, &monotonic,
                     sizeof(monotonic));
    });
    EXPECT_NE(why.find("SO_TXTIME"), std::string::npos) << why;
    const std::string key = why_refused([] {
        const std::uint64_t bytes[2] = {1, 2};
        ::setsockopt(::socket(AF_INET, SOCK_STREAM, 0), IPPROTO_TCP, 33, bytes, sizeof(bytes));
    });
    EXPECT_NE(key.find("TCP_FASTOPEN_KEY"), std::string::npos) << key;
}

TEST(Inet, protocols_that_cannot_be_carried_are_refused_by_name) {
    struct Kind {
        int family, type, protocol;
        const char* name;
    };
    constexpr Kind kKinds[] = {
        {AF_INET, SOCK_STREAM, 262, "MPTCP"},
        {AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, "protocol 136"},
        {AF_INET, SOCK_RAW, IPPROTO_IGMP, "type 3, protocol 2"},
        {AF_VSOCK, SOCK_STREAM, 0, "a socket of family 40"},
    };
    for (const Kind& kind : kKinds) {
        const int here = ::socket(kind.family, kind.type, kind.protocol);
        if (here < 0) continue;  // a kernel without
        ::close(here);
        const std::string why =
            why_refused([&] { std::ignore = ::socket(kind.family, kind.type, kind.protocol); });
        EXPECT_NE(why.find(kind.name), std::string::npos) << kind.name << ": " << why;
    }
}

TEST(Inet, a_datagram_that_is_held_together_is_waited_for) {
    enter_test_network();
    const LiveTree tree([] {
        const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
        sockaddr_in to = {AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}, {}};
        ::sendto(fd, "half", 4, MSG_MORE, reinterpret_cast<sockaddr*>(&to), sizeof(to));
    });
    FileCollector collector({.tcp_established = true}, nullptr);
    const std::vector<Pid> pids = {tree.pid()};
    ASSERT_TRUE(collector.prepare(pids).has_value());
    const auto collected = collector.collect(pids);
    ASSERT_TRUE(collected.has_value()) << collected.error().describe();
    EXPECT_NE(collected->busy.find("not sent yet"), std::string::npos) << collected->busy;
}

TEST(Inet, a_socket_that_sends_ip_options_is_refused) {
    const std::string why = why_refused([] {
        const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
        const unsigned char record_route[] = {7, 7, 4, 0, 0, 0, 0, 0};
        ::setsockopt(fd, IPPROTO_IP, IP_OPTIONS, record_route, sizeof(record_route));
    });
    EXPECT_NE(why.find("IP options"), std::string::npos) << why;
}

TEST(Inet, a_filter_of_ebpf_is_refused) {
    const std::string why = why_refused([] {
        const std::uint64_t code[] = {0xb7, 0x95};  // r0 = 0; exit
        bpf_attr attributes = {};
        attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
        attributes.insns = reinterpret_cast<std::uint64_t>(code);
        attributes.insn_cnt = 2;
        attributes.license = reinterpret_cast<std::uint64_t>("GPL");
        const int program =
            static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes)));
        const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
        ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program));
        ::close(program);
    });
    EXPECT_NE(why.find("eBPF filter"), std::string::npos) << why;
}

}  // namespace
}  // namespace ferry::resources
